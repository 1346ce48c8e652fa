//! Read IDX files, the format of MNIST, plain or gzipped.

use std::path::{Path, PathBuf};

use tch::{Kind, Tensor};

use super::Dataset;
use super::source::Source;
use crate::error::{Error, Result};

/// Reads an IDX file with sizes `[n, …]` as n examples, without labels; numbers of any of the format's six types.
///
/// Unsigned bytes are `Float` with range `(0, 255)`; the other types declare no range. Signed bytes, 16-bit integers and
/// 32-bit floats are `Float`, 32-bit integers and 64-bit floats `Double`: no value changes. A `~` at the start of the
/// path is the home folder. Whether the file is gzipped is told from its first bytes, not from its name. The header is
/// checked against the length of the content before anything of its size is allocated.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::Data`] with the byte offset (in the decompressed content) if it is
/// empty, truncated, longer than its header says, of an unknown element type, holds a float that is not finite, or is not
/// an IDX file.
pub fn read_idx(path: impl AsRef<Path>) -> Result<Dataset> {
    let Idx { sizes, bytes, element, start, path } = read(path.as_ref())?;
    let (n, shape) = (sizes[0], if sizes.len() > 1 { sizes[1..].to_vec() } else { vec![1] });
    if let Some((at, value)) = element.not_finite(&bytes) {
        let place = format!("byte {}", start + at as u64);
        return Err(Error::data(path, place, format!("a finite number, found {value}")));
    }
    let x = element.tensor(&bytes)?.f_view([n, shape.iter().product()])?;
    let name = path.display().to_string();
    let range = (element == Element::U8).then_some((0.0, 255.0));
    Ok(Dataset { shape, range, ..Dataset::new(name, x)? })
}

/// Reads images and their labels, the two IDX files of one split; labels of any integer type.
///
/// # Errors
/// Those of [`read_idx`], and [`Error::Data`] if the labels are not a list of as many integers as there are images.
pub fn read_idx_pair(images: impl AsRef<Path>, labels: impl AsRef<Path>) -> Result<Dataset> {
    let data = read_idx(images)?;
    let Idx { sizes, bytes, element, path, .. } = read(labels.as_ref())?;
    if sizes != [data.len() as i64] {
        let expected = format!("sizes [{}], one label per image of {}, found {sizes:?}", data.len(), data.name);
        return Err(Error::data(path, "byte 4", expected));
    }
    let Some(labels) = element.integers(&bytes) else {
        let expected = format!("integer labels, found element type {:02x}, {}", element.code(), element.words());
        return Err(Error::data(path, "byte 2", expected));
    };
    Ok(Dataset { labels: Some(labels), ..data })
}

/// The types of element that the format knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    U8,
    I8,
    I16,
    I32,
    F32,
    F64,
}

impl Element {
    const ALL: [Element; 6] = [Element::U8, Element::I8, Element::I16, Element::I32, Element::F32, Element::F64];

    fn code(self) -> u8 {
        match self {
            Element::U8 => 0x08,
            Element::I8 => 0x09,
            Element::I16 => 0x0b,
            Element::I32 => 0x0c,
            Element::F32 => 0x0d,
            Element::F64 => 0x0e,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Element::U8 => "unsigned bytes",
            Element::I8 => "signed bytes",
            Element::I16 => "16-bit integers",
            Element::I32 => "32-bit integers",
            Element::F32 => "32-bit floats",
            Element::F64 => "64-bit floats",
        }
    }

    /// Bytes of one element.
    fn width(self) -> u64 {
        match self {
            Element::U8 | Element::I8 => 1,
            Element::I16 => 2,
            Element::I32 | Element::F32 => 4,
            Element::F64 => 8,
        }
    }

    /// The elements, big end first in the file, as a list of the kind that holds all values of the type.
    fn tensor(self, bytes: &[u8]) -> Result<Tensor> {
        let small = |values: Vec<f32>| Ok(Tensor::f_from_slice(&values)?);
        let large = |values: Vec<f64>| Ok(Tensor::f_from_slice(&values)?);
        match self {
            // by libtorch, since images are large
            Element::U8 => {
                Ok(Tensor::f_from_data_size(bytes, &[bytes.len() as i64], Kind::Uint8)?.f_to_kind(Kind::Float)?)
            }
            Element::I8 => {
                Ok(Tensor::f_from_data_size(bytes, &[bytes.len() as i64], Kind::Int8)?.f_to_kind(Kind::Float)?)
            }
            Element::I16 => small(words(bytes).map(|b| i16::from_be_bytes(b).into()).collect()),
            Element::I32 => large(words(bytes).map(|b| i32::from_be_bytes(b).into()).collect()),
            Element::F32 => small(words(bytes).map(f32::from_be_bytes).collect()),
            Element::F64 => large(words(bytes).map(f64::from_be_bytes).collect()),
        }
    }

    fn integers(self, bytes: &[u8]) -> Option<Vec<i64>> {
        match self {
            Element::U8 => Some(bytes.iter().map(|&b| b.into()).collect()),
            Element::I8 => Some(bytes.iter().map(|&b| (b as i8).into()).collect()),
            Element::I16 => Some(words(bytes).map(|b| i16::from_be_bytes(b).into()).collect()),
            Element::I32 => Some(words(bytes).map(|b| i32::from_be_bytes(b).into()).collect()),
            Element::F32 | Element::F64 => None,
        }
    }

    /// Offset and value of the first element that is NaN or infinite.
    fn not_finite(self, bytes: &[u8]) -> Option<(usize, f64)> {
        let mut values: Box<dyn Iterator<Item = f64>> = match self {
            Element::F32 => Box::new(words(bytes).map(|b| f32::from_be_bytes(b).into())),
            Element::F64 => Box::new(words(bytes).map(f64::from_be_bytes)),
            _ => return None,
        };
        let (i, value) = values.by_ref().enumerate().find(|(_, v)| !v.is_finite())?;
        Some((i * self.width() as usize, value))
    }
}

/// The bytes of each element.
fn words<const W: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; W]> {
    bytes.as_chunks().0.iter().copied()
}

/// The sizes, all at least 1, and the bytes of as many elements as their product.
struct Idx {
    sizes: Vec<i64>,
    bytes: Vec<u8>,
    element: Element,
    /// Where the elements start.
    start: u64,
    /// The path with its `~` replaced.
    path: PathBuf,
}

fn read(path: &Path) -> Result<Idx> {
    let mut source = Source::open(path)?;
    let path = source.path.clone();
    let wrong = |byte: u64, expected: String| Err(Error::data(&path, format!("byte {byte}"), expected));

    let magic = source.read_up_to(4, 0)?;
    let &[zero0, zero1, kind, rank] = magic.as_slice() else {
        return wrong(magic.len() as u64, "the 4 bytes of an IDX magic number, the file ends".into());
    };
    if [zero0, zero1] != [0, 0] {
        return wrong(0, format!("the IDX magic number 00 00 08 rank, found {}", hex(&magic)));
    }
    let Some(element) = Element::ALL.into_iter().find(|e| e.code() == kind) else {
        return wrong(2, format!("element type 08, 09, 0b, 0c, 0d or 0e, found {kind:02x}"));
    };
    if rank == 0 {
        return wrong(3, "at least one size, found rank 0".into());
    }

    let header = source.read_up_to(4 * u64::from(rank), 4)?;
    let start = 4 + 4 * u64::from(rank);
    if header.len() as u64 + 4 < start {
        return wrong(4 + header.len() as u64, format!("{rank} sizes of 4 bytes each, the file ends"));
    }
    let sizes: Vec<u32> = header.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]])).collect();
    if let Some(i) = sizes.iter().position(|&s| s == 0) {
        return wrong(4 + 4 * i as u64, format!("sizes of at least 1, found {sizes:?}"));
    }
    let total = sizes.iter().try_fold(element.width(), |p, &s| p.checked_mul(u64::from(s)));
    let Some(total) = total.filter(|&t| t <= source.most.saturating_sub(start)) else {
        let most = source.most.saturating_sub(start);
        return wrong(4, format!("sizes that fit the file, at most {most} bytes follow, found {sizes:?}"));
    };

    let bytes = source.read_up_to(total + 1, start)?;
    if (bytes.len() as u64) < total {
        return wrong(start + bytes.len() as u64, format!("{total} bytes for sizes {sizes:?}, the file ends"));
    }
    if bytes.len() as u64 > total {
        return wrong(start + total, format!("the end of the file, {total} bytes for sizes {sizes:?} are over"));
    }
    Ok(Idx { sizes: sizes.into_iter().map(i64::from).collect(), bytes, element, start, path })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}
