//! Decode UTF-16 with a byte order mark as UTF-8 while it is read.

use std::io::{self, BufRead, Cursor, Read};

/// What is no character: a byte that UTF-8 never has, so that the reader of the text refuses it.
const NOT_UTF8: u8 = 0xff;

/// The text as UTF-8 without byte order mark; what is not marked as UTF-16 passes unchanged.
pub(super) fn decoded(mut reader: Box<dyn BufRead>) -> io::Result<Box<dyn BufRead>> {
    let mut start = Vec::new();
    reader.by_ref().take(2).read_to_end(&mut start)?;
    let unit: fn([u8; 2]) -> u16 = match start.as_slice() {
        [0xff, 0xfe] => u16::from_le_bytes,
        [0xfe, 0xff] => u16::from_be_bytes,
        [0xef, 0xbb] => {
            let mut third = Vec::new();
            reader.by_ref().take(1).read_to_end(&mut third)?;
            let rest = if third == [0xbf] { Vec::new() } else { [start, third].concat() };
            return Ok(Box::new(Cursor::new(rest).chain(reader)));
        }
        _ => return Ok(Box::new(Cursor::new(start).chain(reader))),
    };
    Ok(Box::new(Utf16 { reader, unit, held: None, text: Vec::new(), at: 0 }))
}

struct Utf16 {
    reader: Box<dyn BufRead>,
    unit: fn([u8; 2]) -> u16,
    /// The first half of a pair whose second half is not read yet.
    held: Option<u16>,
    text: Vec<u8>,
    at: usize,
}

impl Utf16 {
    fn decode(&mut self, bytes: &[u8]) {
        let pairs = bytes.chunks_exact(2);
        let odd = !pairs.remainder().is_empty();
        let mut units: Vec<u16> = self.held.take().into_iter().collect();
        units.extend(pairs.map(|b| (self.unit)([b[0], b[1]])));
        let ended = bytes.is_empty() || odd;
        if !ended && units.last().is_some_and(|u| (0xd800..0xdc00).contains(u)) {
            self.held = units.pop();
        }
        for c in char::decode_utf16(units) {
            match c {
                Ok(c) => self.text.extend(c.encode_utf8(&mut [0; 4]).bytes()),
                Err(_) => self.text.push(NOT_UTF8),
            }
        }
        if odd {
            self.text.push(NOT_UTF8);
        }
    }
}

impl BufRead for Utf16 {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.text.len() {
            (self.at, self.text) = (0, Vec::new());
            let mut bytes = Vec::new();
            self.reader.by_ref().take(1 << 13).read_to_end(&mut bytes)?;
            self.decode(&bytes);
            if bytes.is_empty() {
                break;
            }
        }
        Ok(&self.text[self.at..])
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

impl Read for Utf16 {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(out)?;
        self.consume(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        decoded(Box::new(Cursor::new(bytes.to_vec()))).unwrap().read_to_end(&mut text).unwrap();
        text
    }

    #[test]
    fn utf16_of_both_orders_is_utf8_also_across_blocks() {
        // pairs of surrogates at every offset to the blocks of 8192 bytes
        for shift in 0..3 {
            let text = "ä".repeat(shift) + &"x🦀".repeat(5_000);
            let bytes =
                |order: fn(u16) -> [u8; 2]| [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(order).collect();
            let (little, big): (Vec<u8>, Vec<u8>) = (bytes(u16::to_le_bytes), bytes(u16::to_be_bytes));
            assert_eq!(read(&little), text.as_bytes());
            assert_eq!(read(&big), text.as_bytes());
        }
    }

    #[test]
    fn what_is_no_utf16_is_no_utf8_either_and_other_text_passes() {
        assert_eq!(read(&[0xff, 0xfe, b'a', 0, b'b']), [b'a', NOT_UTF8]);
        assert_eq!(read(&[0xff, 0xfe, 0x00, 0xd8]), [NOT_UTF8]);
        assert_eq!(read(&[0xff, 0xfe, 0x00, 0xdc, b'a', 0]), [NOT_UTF8, b'a']);
        assert_eq!(read("\u{feff}ab".as_bytes()), b"ab");
        for text in ["", "a", "ab", "äb"] {
            assert_eq!(read(text.as_bytes()), text.as_bytes());
        }
        assert_eq!(read(&[0xef, 0xbb]), [0xef, 0xbb]);
    }
}
