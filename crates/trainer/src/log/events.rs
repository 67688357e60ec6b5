//! TensorBoard event files: scalars only.
//!
//! The format is a sequence of records (length, masked CRC-32C of the length, protocol buffer,
//! masked CRC-32C of it). The published writers depend on an image library and an outdated protocol
//! buffer runtime, so the two messages needed are encoded here.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Error, Result};

/// `SessionLog.START`.
const SESSION_STARTED: u64 = 1;

/// An event file to which scalars are appended.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Events {
    /// A new event file in `folder`, named after the time as TensorBoard expects, of a run that
    /// continues after step `done`: values of later steps in earlier files are invalidated.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn create(folder: &Path, done: u64) -> Result<Self> {
        let now = since_epoch();
        let name = format!(
            "events.out.tfevents.{:010}.trainer.{}",
            now as u64,
            std::process::id()
        );
        let path = folder.join(name);
        let file = File::create(&path).map_err(Error::file("cannot create", &path))?;
        let mut events = Self {
            path,
            file: BufWriter::new(file),
        };
        let mut version = Message::default();
        version.double(1, now);
        version.bytes(3, b"brain.Event:2");
        events.record(&version.0)?;
        if done > 0 {
            let mut started = Message::default();
            started.varint(1, SESSION_STARTED);
            let mut event = Message::default();
            event.double(1, now);
            event.varint(2, done + 1);
            event.bytes(7, &started.0);
            events.record(&event.0)?;
        }
        Ok(events)
    }

    /// Adds `value` to the curve `tag` at `step`.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn scalar(&mut self, tag: &str, step: u64, value: f32) -> Result<()> {
        let mut point = Message::default();
        point.bytes(1, tag.as_bytes());
        point.float(2, value);
        let mut summary = Message::default();
        summary.bytes(1, &point.0);
        let mut event = Message::default();
        event.double(1, since_epoch());
        event.varint(2, step);
        event.bytes(5, &summary.0);
        self.record(&event.0)
    }

    /// Flushes buffered data to the system.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub fn flush(&mut self) -> Result<()> {
        self.file
            .flush()
            .map_err(Error::file("cannot write", &self.path))
    }

    fn record(&mut self, data: &[u8]) -> Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(data.len() + 16);
        record.extend_from_slice(&length);
        record.extend_from_slice(&masked_crc(&length).to_le_bytes());
        record.extend_from_slice(data);
        record.extend_from_slice(&masked_crc(data).to_le_bytes());
        self.file
            .write_all(&record)
            .map_err(Error::file("cannot write", &self.path))
    }
}

/// A protocol buffer message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, field: u8, value: u64) {
        self.0.push(field << 3);
        self.raw_varint(value);
    }

    fn double(&mut self, field: u8, value: f64) {
        self.0.push(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u8, value: &[u8]) {
        self.0.push(field << 3 | 2);
        self.raw_varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn float(&mut self, field: u8, value: f32) {
        self.0.push(field << 3 | 5);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

fn since_epoch() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_checksum_is_the_castagnoli_one() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(
            masked_crc(b"123456789"),
            0xE306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8)
        );
    }

    #[test]
    fn an_event_has_the_bytes_of_its_messages() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = Events::create(folder.path(), 0).unwrap();
        events.scalar("a", 300, 0.5).unwrap();
        events.flush().unwrap();
        let bytes = std::fs::read(&events.path).unwrap();
        let mut records = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(12);
            let length = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
            assert_eq!(head[8..], masked_crc(&head[..8]).to_le_bytes());
            let (data, tail) = tail.split_at(length);
            let (check, tail) = tail.split_at(4);
            assert_eq!(check, masked_crc(data).to_le_bytes());
            records.push(data);
            rest = tail;
        }
        assert_eq!(records.len(), 2);
        assert_eq!(records[0][9..], *b"\x1a\x0dbrain.Event:2");
        // step 300, summary { value { tag "a", simple_value 0.5 } }
        assert_eq!(
            records[1][9..],
            *b"\x10\xac\x02\x2a\x0a\x0a\x08\x0a\x01a\x15\x00\x00\x00\x3f"
        );
    }
}
