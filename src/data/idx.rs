//! Read IDX files of bytes, the format of MNIST, plain or gzipped.

use std::path::Path;

use tch::{Kind, Tensor};

use super::Dataset;
use super::source::Source;
use crate::error::{Error, Result};

/// Reads an IDX file of unsigned bytes with sizes `[n, …]` as n examples, `Float`, range `(0, 255)`, without labels.
///
/// Whether the file is gzipped is told from its first bytes, not from its name. The header is checked against the
/// length of the content before anything of its size is allocated.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::Data`] with the byte offset (in the decompressed content) if it is
/// empty, truncated, longer than its header says, of another element type, or not an IDX file.
pub fn read_idx(path: impl AsRef<Path>) -> Result<Dataset> {
    let Idx { sizes, bytes } = read(path.as_ref())?;
    let (n, shape) = (sizes[0], if sizes.len() > 1 { sizes[1..].to_vec() } else { vec![1] });
    let x = Tensor::f_from_data_size(&bytes, &[n, bytes.len() as i64 / n], Kind::Uint8)?.f_to_kind(Kind::Float)?;
    let name = path.as_ref().display().to_string();
    Ok(Dataset { x, labels: None, shape, range: Some((0.0, 255.0)), name })
}

/// Reads images and their labels, the two IDX files of one split.
///
/// # Errors
/// Those of [`read_idx`], and [`Error::Data`] if the labels are not a list of as many entries as there are images.
pub fn read_idx_pair(images: impl AsRef<Path>, labels: impl AsRef<Path>) -> Result<Dataset> {
    let data = read_idx(images)?;
    let Idx { sizes, bytes } = read(labels.as_ref())?;
    if sizes != [data.len() as i64] {
        let expected = format!("sizes [{}], one label per image of {}, found {sizes:?}", data.len(), data.name);
        return Err(Error::data(labels, "byte 4", expected));
    }
    Ok(Dataset { labels: Some(bytes.into_iter().map(i64::from).collect()), ..data })
}

/// The sizes, all at least 1, and as many bytes as their product.
struct Idx {
    sizes: Vec<i64>,
    bytes: Vec<u8>,
}

fn read(path: &Path) -> Result<Idx> {
    let mut source = Source::open(path)?;
    let wrong = |byte: u64, expected: String| Err(Error::data(path, format!("byte {byte}"), expected));

    let magic = source.read_up_to(4, 0)?;
    let &[zero0, zero1, kind, rank] = magic.as_slice() else {
        return wrong(magic.len() as u64, "the 4 bytes of an IDX magic number, the file ends".into());
    };
    if [zero0, zero1] != [0, 0] {
        return wrong(0, format!("the IDX magic number 00 00 08 rank, found {}", hex(&magic)));
    }
    if kind != 0x08 {
        return wrong(2, format!("element type 08, unsigned bytes, found {kind:02x}"));
    }
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
    let total = sizes.iter().try_fold(1_u64, |p, &s| p.checked_mul(u64::from(s)));
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
    Ok(Idx { sizes: sizes.into_iter().map(i64::from).collect(), bytes })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}
