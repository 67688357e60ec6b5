//! The body of a request: a video, and what is asked about it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _};
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::limits;
use crate::problem::{Outcome, Problem};

/// Bytes that one permit of the budget stands for.
const UNIT: usize = 1024;

/// The memory that uploads may take together.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(limits::UPLOADS / UNIT)))
    }

    /// Memory for so many bytes, until it is dropped; `None` if there is not enough.
    pub(crate) fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        self.0.clone().try_acquire_many_owned(units).ok()
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        limits::UPLOADS - self.0.available_permits() * UNIT
    }
}

/// A file in memory, without a name, gone with its last user.
#[derive(Debug, Clone)]
pub(crate) struct Video {
    pub(crate) file: Arc<File>,
    /// The name that the client has for it. It names nothing here.
    pub(crate) name: String,
    /// The form's field.
    pub(crate) field: String,
    _shared: Arc<Shared>,
}

/// The content of a request.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) videos: Vec<Video>,
    /// The form's other fields and those of the query, each once.
    pub(crate) fields: BTreeMap<String, String>,
}

impl Upload {
    /// Reads a request with a body that is a video, or a form of at most `videos` videos and other
    /// fields.
    pub(crate) async fn read(request: Request, budget: &Budget, videos: usize) -> Outcome<Self> {
        let mut upload = Self {
            videos: Vec::new(),
            fields: query(request.uri().query().unwrap_or_default())?,
        };
        let headers = request.headers();
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(coding) = header(header::CONTENT_ENCODING)
            && coding != "identity"
        {
            let detail = format!("Content-Encoding {coding} is not decoded");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
                .help("send the video as it is"));
        }
        let most = (videos * limits::UPLOAD + limits::FIELDS).min(limits::REQUEST);
        let length = header(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        if length.is_some_and(|length: usize| length > most) {
            return Err(too_large());
        }
        let kind = header(header::CONTENT_TYPE)
            .unwrap_or_default()
            .to_ascii_lowercase();
        let is_form = kind.starts_with("multipart/form-data");
        let is_video = kind.starts_with("video/") || kind.starts_with("application/octet-stream");
        if !is_form && !is_video {
            let detail = format!("Content-Type {kind:?} is neither a video nor a form with one");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
                .help("send multipart/form-data with the field video, or the file itself as video/mp4"));
        }
        let shared = Arc::new(Shared::default());
        let metered = Metered {
            budget: budget.clone(),
            shared: shared.clone(),
            left: most,
            unpaid: 0,
            until: Instant::now() + limits::WHOLE,
        };
        let request = request.map(|body| Body::from_stream(metered.read(body)));
        let read = match is_form {
            true => upload.form(request, videos, &shared).await,
            false => upload.plain(request, &shared).await,
        };
        // Why the body ended matters more than what that made of the form.
        match shared.failure.lock().ok().and_then(|mut it| it.take()) {
            Some(failure) => Err(failure),
            None => read.map(|()| upload),
        }
    }

    async fn plain(&mut self, request: Request, shared: &Arc<Shared>) -> Outcome<()> {
        let mut stream = request.into_body().into_data_stream();
        let mut file = Anonymous::new("video", "upload")?;
        while let Some(bytes) = stream.next().await {
            shared.unseen.store(0, Relaxed);
            file.write(&bytes.map_err(|error| broken(&error))?)?;
        }
        self.videos.push(file.video(shared)?);
        Ok(())
    }

    async fn form(&mut self, request: Request, videos: usize, shared: &Arc<Shared>) -> Outcome<()> {
        let mut form = Multipart::from_request(request, &())
            .await
            .map_err(|error| Problem::bad(error.body_text()))?;
        let mut text = 0;
        while let Some(mut part) = form.next_field().await.map_err(|error| broken(&error))? {
            shared.unseen.store(0, Relaxed);
            let field = part.name().unwrap_or_default().to_owned();
            let file_name = part.file_name().map(shown);
            if let Some(name) = file_name {
                if self.videos.len() == videos {
                    return Err(Problem::bad(format!("more than {videos} files")));
                }
                let mut file = Anonymous::new(&field, &name)?;
                while let Some(bytes) = part.chunk().await.map_err(|error| broken(&error))? {
                    shared.unseen.store(0, Relaxed);
                    file.write(&bytes)?;
                }
                self.videos.push(file.video(shared)?);
            } else {
                let mut bytes = Vec::new();
                text += field.len();
                while let Some(chunk) = part.chunk().await.map_err(|error| broken(&error))? {
                    shared.unseen.store(0, Relaxed);
                    text += chunk.len();
                    if text > limits::FIELDS {
                        return Err(Problem::new(
                            StatusCode::PAYLOAD_TOO_LARGE,
                            format!("the form's text is longer than {} bytes", limits::FIELDS),
                        ));
                    }
                    bytes.extend(chunk);
                }
                let value = String::from_utf8(bytes).map_err(|_| {
                    Problem::bad(format!("the field {} is not UTF-8", shown(&field)))
                })?;
                add(&mut self.fields, field, value)?;
            }
        }
        Ok(())
    }
}

/// The pairs of a query.
pub(crate) fn query(query: &str) -> Outcome<BTreeMap<String, String>> {
    let mut fields = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        add(&mut fields, name.into_owned(), value.into_owned())?;
    }
    Ok(fields)
}

fn add(fields: &mut BTreeMap<String, String>, name: String, value: String) -> Outcome<()> {
    match fields.insert(name.clone(), value) {
        None => Ok(()),
        Some(_) => Err(Problem::bad(format!("{} is given twice", shown(&name)))),
    }
}

/// A client's text for an answer: short, on one line.
pub(crate) fn shown(text: &str) -> String {
    recogniser::printable(&text.chars().take(200).collect::<String>())
}

fn too_large() -> Problem {
    let (video, all) = (limits::UPLOAD >> 20, limits::REQUEST >> 20);
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("a video may have {video} MiB, and the clips of a request {all} MiB"),
    )
    .limit("upload")
    .help("cut or compress it; for a file that you trust: trainer predict FILE")
}

fn too_slow() -> Problem {
    let (idle, whole) = (limits::IDLE.as_secs(), limits::WHOLE.as_secs());
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        format!("the body may pause for {idle} s and take {whole} s in all"),
    )
    .limit("time")
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Problem {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        reason = error.to_string();
        cause = error.source();
    }
    Problem::bad(format!("the body cannot be read: {reason}"))
}

/// An upload under way.
struct Anonymous {
    file: File,
    name: String,
    field: String,
    bytes: usize,
}

impl Anonymous {
    fn new(field: &str, name: &str) -> Outcome<Self> {
        let file = anonymous_file().map_err(failed("cannot make a file in memory"))?;
        Ok(Self {
            file,
            name: name.to_owned(),
            field: field.to_owned(),
            bytes: 0,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.bytes += bytes.len();
        if self.bytes > limits::UPLOAD {
            return Err(too_large());
        }
        let written = self.file.write_all(bytes);
        written.map_err(failed("cannot write a file in memory"))
    }

    fn video(self, shared: &Arc<Shared>) -> Outcome<Video> {
        if self.bytes == 0 {
            return Err(Problem::bad("the video is empty (0 bytes)"));
        }
        seal(&self.file).map_err(failed("cannot seal a file in memory"))?;
        Ok(Video {
            file: Arc::new(self.file),
            name: self.name,
            field: self.field,
            _shared: shared.clone(),
        })
    }
}

/// A file that has no name in any folder.
pub(crate) fn anonymous_file() -> std::io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{MemfdFlags, memfd_create};
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        Ok(memfd_create("upload", flags)?.into())
    }
    #[cfg(not(target_os = "linux"))]
    tempfile::tempfile()
}

/// Makes a file in memory unchangeable, also for the process that decodes it.
pub(crate) fn seal(file: &File) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{SealFlags, fcntl_add_seals};
        let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        fcntl_add_seals(file, all)?;
    }
    let _ = file;
    Ok(())
}

/// A failure of the system.
pub(crate) fn failed(what: &'static str) -> impl FnOnce(std::io::Error) -> Problem {
    move |source| crate::Error::System { what, source }.into()
}

/// What the body of a request and its readers know of each other.
#[derive(Debug, Default)]
struct Shared {
    /// The part of the budget that the request holds, as long as one of its videos is there.
    memory: Mutex<Option<OwnedSemaphorePermit>>,
    /// Why the body ended too early.
    failure: Mutex<Option<Problem>>,
    /// Bytes that were passed on since their reader has made something of them.
    unseen: AtomicUsize,
}

/// A body of which every byte is counted, and that may not dawdle.
struct Metered {
    budget: Budget,
    shared: Arc<Shared>,
    left: usize,
    /// Bytes since the last permit.
    unpaid: usize,
    until: Instant,
}

impl Metered {
    /// The bytes as they come.
    fn read(self, body: Body) -> impl Stream<Item = Result<Bytes, axum::BoxError>> + use<> {
        let state = Some((self, body.into_data_stream()));
        stream::unfold(state, |state| async {
            let (mut metered, mut body) = state?;
            match metered.next(&mut body).await {
                Ok(bytes) => Some((Ok(bytes?), Some((metered, body)))),
                Err(problem) => {
                    if let Ok(mut failure) = metered.shared.failure.lock() {
                        *failure = Some(problem);
                    }
                    Some((Err("the body ended".into()), None))
                }
            }
        })
    }

    async fn next(&mut self, body: &mut BodyDataStream) -> Outcome<Option<Bytes>> {
        let unseen = || self.shared.unseen.load(Relaxed) > limits::HEADER_BYTES;
        if unseen() {
            // The reader of a form takes what there is before it looks at it, and then looks for the
            // end of a part's header from its beginning each time.
            tokio::task::yield_now().await;
            if unseen() {
                let most = limits::HEADER_BYTES;
                return Err(Problem::bad(format!(
                    "the header of a form's part is longer than {most} bytes"
                )));
            }
        }
        let until = self.until.min(Instant::now() + limits::IDLE);
        match timeout_at(until, body.next()).await {
            Ok(None) => Ok(None),
            Ok(Some(Ok(bytes))) => {
                self.take(bytes.len())?;
                self.shared.unseen.fetch_add(bytes.len(), Relaxed);
                Ok(Some(bytes))
            }
            Ok(Some(Err(error))) => Err(broken(&error)),
            Err(_) => Err(too_slow()),
        }
    }

    fn take(&mut self, bytes: usize) -> Outcome<()> {
        self.left = self.left.checked_sub(bytes).ok_or_else(too_large)?;
        self.unpaid += bytes;
        let units = self.unpaid / UNIT;
        self.unpaid %= UNIT;
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let permit = self.budget.0.clone().try_acquire_many_owned(units);
        let permit = permit.map_err(|_| Problem::busy("uploads take all the memory for them"))?;
        if let Ok(mut memory) = self.shared.memory.lock() {
            match &mut *memory {
                Some(all) => all.merge(permit),
                none => *none = Some(permit),
            }
        }
        Ok(())
    }
}

/// Reads and drops the rest of a body that is not wanted for a while: a client that still sends would
/// not see the answer.
pub(crate) async fn drain(request: Request, next: Next) -> Response {
    let request = match request.body().is_end_stream() {
        true => request,
        false => request.map(|body| Body::from_stream(Rest(Some(body.into_data_stream())))),
    };
    next.run(request).await
}

/// A body that is drained when it is dropped.
struct Rest(Option<BodyDataStream>);

impl Stream for Rest {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let next = ready!(body.poll_next_unpin(context));
        if !matches!(next, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(next)
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        if let (Some(mut body), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move {
                let rest = async { while let Some(Ok(_)) = body.next().await {} };
                let _ = tokio::time::timeout(limits::DRAIN, rest).await;
            });
        }
    }
}
