//! Frames: a header of fixed size, and a payload of the length that it says.

use std::io::{Read, Write};

/// The first bytes of every frame.
pub const MAGIC: [u8; 4] = *b"PNNH";
/// The version of the protocol, in every frame.
pub const PROTOCOL: u16 = 1;
/// Magic, version, kind, length of the payload.
const HEADER: usize = 4 + 2 + 2 + 8;

/// What a frame is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Says who asks; answered by `Described`.
    Hello = 1,
    /// What the instrument is and what can be set on it.
    Described = 2,
    /// Settings and inputs; answered by `Measured`.
    Measure = 3,
    /// What was read.
    Measured = 4,
    /// The instrument could not, and says why.
    Failed = 5,
    /// The process should end.
    Shutdown = 6,
}

impl Kind {
    fn of(number: u16) -> Option<Self> {
        [Self::Hello, Self::Described, Self::Measure, Self::Measured, Self::Failed, Self::Shutdown]
            .into_iter()
            .find(|kind| *kind as u16 == number)
    }
}

/// A frame, or in words what came instead of one.
pub(super) type Received = Result<(Kind, Vec<u8>), String>;

pub(super) fn write(to: &mut dyn Write, kind: Kind, payload: &[u8]) -> std::io::Result<()> {
    let mut header = Vec::with_capacity(HEADER);
    header.extend(MAGIC);
    header.extend(PROTOCOL.to_le_bytes());
    header.extend((kind as u16).to_le_bytes());
    header.extend((payload.len() as u64).to_le_bytes());
    to.write_all(&header)?;
    to.write_all(payload)?;
    to.flush()
}

/// Reads a frame of at most `limit` bytes; none where the stream ends before one.
pub(super) fn read(from: &mut dyn Read, limit: u64) -> Option<Received> {
    let mut header = [0; HEADER];
    let mut have = 0;
    while have < HEADER {
        match from.read(&mut header[have..]) {
            Ok(0) if have == 0 => return None,
            Ok(0) => return Some(Err(format!("ended after {have} of {HEADER} bytes of a header"))),
            Ok(count) => have += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Some(Err(format!("could not be read: {error}"))),
        }
    }
    Some(payload(&header, from, limit))
}

fn payload(header: &[u8; HEADER], from: &mut dyn Read, limit: u64) -> Received {
    let number = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if header[..4] != MAGIC {
        let start = String::from_utf8_lossy(header).escape_debug().to_string();
        return Err(format!(
            "wrote \"{start}\" to its standard output, which is no frame (does something print there? \
             messages for people belong on standard error)"
        ));
    }
    let version = number(4);
    if version != PROTOCOL {
        return Err(format!("speaks version {version} of the protocol, needed is {PROTOCOL}"));
    }
    let kind =
        Kind::of(number(6)).ok_or_else(|| format!("sent a frame of unknown kind {}", number(6)))?;
    let mut length = [0; 8];
    length.copy_from_slice(&header[8..]);
    let length = u64::from_le_bytes(length);
    if length > limit {
        return Err(format!("announced a message of {length} bytes, allowed are {limit}"));
    }
    let mut payload = Vec::new();
    match from.take(length).read_to_end(&mut payload) {
        Ok(_) if payload.len() as u64 == length => Ok((kind, payload)),
        Ok(_) => Err(format!("ended after {} of {length} bytes of a message", payload.len())),
        Err(error) => Err(format!("could not be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_its_header_and_its_payload() {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Measured, b"abc").unwrap();
        assert_eq!(bytes[..16], [b'P', b'N', b'N', b'H', 1, 0, 4, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        let (kind, payload) = read(&mut &bytes[..], 3).unwrap().unwrap();
        assert_eq!((kind, &payload[..]), (Kind::Measured, &b"abc"[..]));
        assert!(read(&mut &[][..], 3).is_none());
        for end in 1..bytes.len() {
            let error = read(&mut &bytes[..end], 3).unwrap().unwrap_err();
            assert!(error.starts_with("ended after"), "{error}");
        }
    }

    #[test]
    fn what_is_no_frame_is_said() {
        let mut bytes = Vec::new();
        write(&mut bytes, Kind::Hello, b"abc").unwrap();
        let changed = |at: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            read(&mut &bytes[..], 1000).unwrap().unwrap_err()
        };
        assert!(changed(0, b'\n').contains("is no frame"));
        assert!(changed(4, 2).contains("version 2 of the protocol, needed is 1"));
        assert!(changed(6, 9).contains("unknown kind 9"));
        assert!(changed(15, 0x7f).contains("allowed are 1000"));
    }
}
