//! The bytes of a pickle, read in order.

use super::PickleError;

pub(super) const ENDS_EARLY: &str = "the pickle ends early";
/// The longest name of a class or function, in bytes.
const MAX_NAME: usize = 256;

pub(super) type Step<T> = Result<T, PickleError>;

/// A position in the pickle.
pub(super) struct Bytes<'a> {
    bytes: &'a [u8],
    /// The offset of the next byte.
    pub(super) next: usize,
    /// The offset of the current instruction, for messages.
    pub(super) at: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            next: 0,
            at: 0,
        }
    }

    pub(super) fn byte(&mut self) -> Step<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| self.fault(ENDS_EARLY))
    }

    pub(super) fn take(&mut self, length: usize) -> Step<&'a [u8]> {
        let end = self.next.checked_add(length);
        match end.and_then(|end| self.bytes.get(self.next..end)) {
            Some(bytes) => {
                self.next += length;
                Ok(bytes)
            }
            None => Err(self.fault(ENDS_EARLY)),
        }
    }

    /// A length of `N` bytes, and as many bytes as it says.
    pub(super) fn counted<const N: usize>(&mut self) -> Step<&'a [u8]> {
        let mut length = [0; 8];
        length[..N].copy_from_slice(&self.array::<N>()?);
        self.take(usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX))
    }

    /// The bytes up to the next line break, which is skipped.
    pub(super) fn line(&mut self) -> Step<&'a [u8]> {
        let rest = self.bytes.get(self.next..).unwrap_or_default();
        let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
            return Err(self.fault(ENDS_EARLY));
        };
        self.next += length + 1;
        Ok(&rest[..length])
    }

    /// The same, as text.
    pub(super) fn text_line(&mut self) -> Step<&'a str> {
        let line = self.line()?;
        std::str::from_utf8(line).map_err(|_| self.fault("a line that is not UTF-8"))
    }

    /// `text`, if it is short enough for a name.
    pub(super) fn name<'t>(&self, text: &'t str) -> Step<&'t str> {
        match text.len() <= MAX_NAME {
            true => Ok(text),
            false => Err(self.fault(format!("a name of {} bytes", text.len()))),
        }
    }

    pub(super) fn fault(&self, reason: impl Into<String>) -> PickleError {
        PickleError {
            at: self.at,
            reason: reason.into(),
        }
    }
}
