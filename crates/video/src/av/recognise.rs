//! Detection of a file's format by its content.

use std::{
    ffi::CStr,
    io::{self, Read, Seek},
    path::Path,
    ptr,
};

use ffmpeg_next::{ffi, format::context::StreamIo};

use super::initialise;
use crate::{Error, Limits};

/// One of FFmpeg's own formats, which live as long as the process.
type Format = *const ffi::AVInputFormat;

/// The format of `file`, and the file rewound to its start; refuses all formats that are not
/// on the list.
pub(super) fn recognise(
    path: &Path,
    mut file: impl Read + Seek + Send + 'static,
    limits: &Limits,
) -> Result<(Format, StreamIo), Error> {
    initialise(limits);
    let avi = avi(&mut file).map_err(|source| Error::Io {
        path: path.to_path_buf(),
        source,
    })?;
    let avi = avi.filter(|_| limits.formats.contains(&"avi"));
    let mut io = StreamIo::from_read_seek(file).map_err(|_| Error::memory(path, limits))?;
    let format = match avi {
        Some(format) => format,
        None => probe(path, &mut io, limits)?,
    };
    Ok((format, io))
}

/// As [`recognise`], of bytes that can be read once.
pub(super) fn recognise_stream(
    path: &Path,
    bytes: impl Read + Send + 'static,
    limits: &Limits,
) -> Result<(Format, StreamIo), Error> {
    initialise(limits);
    let mut io = StreamIo::from_read(bytes).map_err(|_| Error::memory(path, limits))?;
    let format = probe(path, &mut io, limits)?;
    Ok((format, io))
}

/// FFmpeg's name of a format.
pub(super) fn format_name(format: Format) -> String {
    // SAFETY: one of FFmpeg's own formats; the name is static.
    unsafe { CStr::from_ptr((*format).name) }
        .to_string_lossy()
        .into_owned()
}

/// The format of a file that begins as AVI does. [`probe`] would find it too, but it tries some
/// 350 formats, which is noticeable for the short clips of action data sets.
fn avi(file: &mut (impl Read + Seek)) -> io::Result<Option<Format>> {
    let mut head = [0; 12];
    let read = file.read_exact(&mut head);
    file.rewind()?;
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    if !head.starts_with(b"RIFF") || !head.ends_with(b"AVI ") {
        return Ok(None);
    }
    // SAFETY: a name; the answer is null where FFmpeg was built without the format.
    let format = unsafe { ffi::av_find_input_format(c"avi".as_ptr()) };
    Ok((!format.is_null()).then_some(format))
}

/// Probes with FFmpeg, and refuses all formats that are not on the list.
fn probe(path: &Path, io: &mut StreamIo, limits: &Limits) -> Result<Format, Error> {
    let mut format = ptr::null();
    let size = u32::try_from(limits.probe_size / 4)
        .unwrap_or(u32::MAX)
        .clamp(2048, 1 << 20);
    // SAFETY: a readable I/O context, a place for the answer, no name and no log. FFmpeg
    // rewinds the context to where it was.
    let code = unsafe {
        ffi::av_probe_input_buffer2(
            io.as_mut_ptr(),
            &raw mut format,
            c"".as_ptr(),
            ptr::null_mut(),
            0,
            size,
        )
    };
    let path = path.to_path_buf();
    if code < 0 || format.is_null() {
        // SAFETY: as above.
        let failed = unsafe { (*io.as_mut_ptr()).error };
        if failed != 0 && failed != ffi::AVERROR_EOF {
            let source = io::Error::from_raw_os_error(ffi::AVUNERROR(failed));
            return Err(Error::Io { path, source });
        }
        return Err(Error::NotAVideo { path });
    }
    let name = format_name(format);
    if !name.split(',').any(|name| limits.formats.contains(&name)) {
        return Err(Error::Refused { path, format: name });
    }
    Ok(format)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Cursor;

    use super::*;

    /// The first bytes of a file whose first word and whose kind are these.
    fn head(first: &[u8; 4], kind: &[u8; 4]) -> Cursor<Vec<u8>> {
        let mut bytes = [first.as_slice(), &[0x10, 0x20, 0, 0], kind, b"LIST"].concat();
        bytes.resize(4096, 0);
        Cursor::new(bytes)
    }

    #[test]
    fn avi_is_recognised_as_ffmpeg_recognises_it() {
        let mut io = StreamIo::from_read_seek(head(b"RIFF", b"AVI ")).unwrap();
        let asked = probe(Path::new("a"), &mut io, &Limits::default()).unwrap();
        let found = avi(&mut head(b"RIFF", b"AVI ")).unwrap();
        assert_eq!(found, Some(asked));
        assert_eq!(format_name(asked), "avi");
    }

    #[test]
    fn what_is_no_avi_is_left_to_ffmpeg() {
        for (first, kind) in [(b"RIFF", b"WAVE"), (b"RIFX", b"AVI ")] {
            assert_eq!(avi(&mut head(first, kind)).unwrap(), None);
        }
        let mut short = Cursor::new(b"RIFF\0\0\0\0AVI".to_vec());
        assert_eq!(avi(&mut short).unwrap(), None);
        assert_eq!(short.position(), 0);
    }

    /// A disk that fails.
    struct Failing;

    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("failing"))
        }
    }

    impl Seek for Failing {
        fn seek(&mut self, _: io::SeekFrom) -> io::Result<u64> {
            Ok(0)
        }
    }

    #[test]
    fn a_failing_disk_is_no_other_format() {
        let failed = recognise(Path::new("a"), Failing, &Limits::default());
        let Err(Error::Io { path, .. }) = failed else {
            unreachable!("not refused as a failing disk is");
        };
        assert_eq!(path, Path::new("a"));
    }
}
