//! The body of a request: a video, and what is asked about it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::{StatusCode, header};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
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
    _memory: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
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
        let metered = Metered::new(budget, most);
        let (failure, memory) = (metered.failure.clone(), metered.memory.clone());
        let (parts, body) = request.into_parts();
        let body = Body::from_stream(metered.read(body));
        let request = Request::from_parts(parts, body);
        let read = match is_form {
            true => upload.form(request, videos, &memory).await,
            false => upload.plain(request, &memory).await,
        };
        // Why the body ended matters more than what that made of the form.
        match failure.lock().ok().and_then(|mut failure| failure.take()) {
            Some(failure) => Err(failure),
            None => read.map(|()| upload),
        }
    }

    async fn plain(&mut self, request: Request, memory: &Memory) -> Outcome<()> {
        let mut stream = request.into_body().into_data_stream();
        let mut file = Anonymous::new("video", "upload")?;
        while let Some(bytes) = stream.next().await {
            file.write(&bytes.map_err(|error| broken(&error))?)?;
        }
        self.videos.push(file.video(memory)?);
        Ok(())
    }

    async fn form(&mut self, request: Request, videos: usize, memory: &Memory) -> Outcome<()> {
        let mut form = Multipart::from_request(request, &())
            .await
            .map_err(|error| Problem::bad(error.body_text()))?;
        let mut text = 0;
        while let Some(mut part) = form.next_field().await.map_err(|error| broken(&error))? {
            let field = part.name().unwrap_or_default().to_owned();
            let file_name = part.file_name().map(shown);
            if let Some(name) = file_name {
                if self.videos.len() == videos {
                    return Err(Problem::bad(format!("more than {videos} files")));
                }
                let mut file = Anonymous::new(&field, &name)?;
                while let Some(bytes) = part.chunk().await.map_err(|error| broken(&error))? {
                    file.write(&bytes)?;
                }
                self.videos.push(file.video(memory)?);
            } else {
                let mut bytes = Vec::new();
                while let Some(chunk) = part.chunk().await.map_err(|error| broken(&error))? {
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
        let file = anonymous_file().map_err(|source| {
            let what = "cannot make a file in memory";
            Problem::from(crate::Error::System { what, source })
        })?;
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
        self.file.write_all(bytes).map_err(|source| {
            let what = "cannot write a file in memory";
            Problem::from(crate::Error::System { what, source })
        })
    }

    fn video(self, memory: &Memory) -> Outcome<Video> {
        if self.bytes == 0 {
            return Err(Problem::bad("the video is empty (0 bytes)"));
        }
        Ok(Video {
            file: Arc::new(self.file),
            name: self.name,
            field: self.field,
            _memory: memory.clone(),
        })
    }
}

/// A file that has no name in any folder.
pub(crate) fn anonymous_file() -> std::io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{MemfdFlags, memfd_create};
        Ok(memfd_create("upload", MemfdFlags::CLOEXEC)?.into())
    }
    #[cfg(not(target_os = "linux"))]
    tempfile::tempfile()
}

/// The part of the budget that a request holds.
type Memory = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

/// A body of which every byte is counted, and that may not dawdle.
struct Metered {
    budget: Budget,
    memory: Memory,
    failure: Arc<Mutex<Option<Problem>>>,
    left: usize,
    /// Bytes since the last permit.
    unpaid: usize,
    until: Instant,
}

impl Metered {
    fn new(budget: &Budget, most: usize) -> Self {
        Self {
            budget: budget.clone(),
            memory: Arc::default(),
            failure: Arc::default(),
            left: most,
            unpaid: 0,
            until: Instant::now() + limits::WHOLE,
        }
    }

    /// The bytes as they come. What is left when nobody wants them any more is read and dropped for a
    /// while: a client that still sends would not see the answer.
    fn read(mut self, body: Body) -> impl Stream<Item = Result<Bytes, axum::BoxError>> + use<> {
        let (sender, mut receiver) = mpsc::channel(2);
        tokio::spawn(async move {
            let mut body = body.into_data_stream();
            loop {
                let until = self.until.min(Instant::now() + limits::IDLE);
                let failed = match timeout_at(until, body.next()).await {
                    Ok(None) => return,
                    Ok(Some(Ok(bytes))) => match self.take(bytes.len()) {
                        Ok(()) if sender.send(Ok(bytes)).await.is_ok() => continue,
                        Ok(()) => None,
                        Err(problem) => Some(problem),
                    },
                    Ok(Some(Err(error))) => Some(broken(&error)),
                    Err(_) => Some(too_slow()),
                };
                if let (Some(failed), Ok(mut failure)) = (failed, self.failure.lock()) {
                    *failure = Some(failed);
                }
                break;
            }
            drop(self);
            let _ = sender.try_send(Err("the body ended".into()));
            drop(sender);
            let rest = async { while let Some(Ok(_)) = body.next().await {} };
            let _ = tokio::time::timeout(limits::DRAIN, rest).await;
        });
        stream::poll_fn(move |context| receiver.poll_recv(context))
    }

    fn take(&mut self, bytes: usize) -> Outcome<()> {
        self.left = self.left.checked_sub(bytes).ok_or_else(too_large)?;
        self.unpaid += bytes;
        let units = self.unpaid / UNIT;
        self.unpaid %= UNIT;
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let permit = self.budget.0.clone().try_acquire_many_owned(units);
        let permit = permit.map_err(|_| Problem::busy("uploads take all the memory for them"))?;
        if let Ok(mut memory) = self.memory.lock() {
            match &mut *memory {
                Some(all) => all.merge(permit),
                none => *none = Some(permit),
            }
        }
        Ok(())
    }
}
