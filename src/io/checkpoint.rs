//! Write the state of a run into one safetensors file, and read it back without trusting it.

use crate::error::{Error, Result, guard};
use crate::io::files::replace;
use safetensors::tensor::{Dtype, SafeTensors, View, serialize};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// Where the JSON part lies among the file's metadata.
const STATE: &str = "jarzynski";

/// The tensor that holds the digest of all the rest: a file that was damaged must not be gone on from.
const DIGEST: &str = "sha256";

/// Named tensors, and what is not a tensor as JSON. Data only: reading one runs nothing.
#[derive(Debug, Default)]
pub struct Checkpoint {
    tensors: BTreeMap<String, Tensor>,
    state: serde_json::Map<String, Value>,
    /// Where it was read from, for messages.
    path: PathBuf,
}

impl Checkpoint {
    /// Holds a tensor by name, as it is at this moment.
    pub fn put(&mut self, name: impl Into<String>, t: &Tensor) {
        self.tensors.insert(name.into(), t.detach());
    }

    /// f64 numbers, with NaN and infinities, which JSON has not.
    pub fn put_numbers(&mut self, name: impl Into<String>, numbers: &[f64]) {
        self.tensors.insert(name.into(), Tensor::from_slice(numbers));
    }

    /// Holds what serde can write.
    ///
    /// # Errors
    /// A value that JSON cannot hold.
    pub fn put_json(&mut self, name: &str, value: &impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value).map_err(|e| Error::param("checkpoint", e, "what JSON can hold"))?;
        self.state.insert(name.into(), value);
        Ok(())
    }

    fn missing(&self, what: &str, expected: &str) -> Error {
        Error::data(&self.path, what.to_string(), expected.to_string())
    }

    /// The tensor of that name, on the CPU.
    ///
    /// # Errors
    /// `Data` where there is none.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        self.find(name).ok_or_else(|| self.missing(name, "a tensor of that name"))
    }

    /// The tensor of that name, on the CPU, if there is one.
    pub fn find(&self, name: &str) -> Option<Tensor> {
        self.tensors.get(name).map(Tensor::shallow_clone)
    }

    /// The `N` numbers of that name.
    ///
    /// # Errors
    /// `Data` where there are none, or not `N` in f64.
    pub fn numbers<const N: usize>(&self, name: &str) -> Result<[f64; N]> {
        let t = self.get(name)?;
        let list = (t.kind() == Kind::Double && t.size() == [N as i64]).then(|| Vec::<f64>::try_from(t).ok()).flatten();
        list.and_then(|v| v.try_into().ok()).ok_or_else(|| self.missing(name, &format!("{N} numbers")))
    }

    /// What [`put_json`](Checkpoint::put_json) held.
    ///
    /// # Errors
    /// Nothing of that name, or of another type.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let value = self.state.get(name).cloned().unwrap_or(Value::Null);
        serde_json::from_value(value).map_err(|e| self.missing(name, &format!("what a checkpoint holds there ({e})")))
    }

    /// Writes all of it, completely or not at all.
    ///
    /// # Errors
    /// `Io` with the path.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        self.replace(path, None)
    }

    /// As [`write`](Checkpoint::write); what stood at `path` is renamed to `before`, if that is given.
    ///
    /// # Errors
    /// `Io` with the path; what stood there is then still at `path` or at `before`.
    pub(crate) fn replace(&self, path: &Path, before: Option<&Path>) -> Result<()> {
        let tensors = self.tensors.iter().map(|(name, t)| Ok((name.as_str(), Bytes::of(t)?)));
        let mut tensors = tensors.collect::<Result<Vec<_>>>()?;
        let state = Value::Object(self.state.clone()).to_string();
        let parts = tensors.iter().map(|(name, t)| (*name, t.dtype, t.shape.as_slice(), t.data.as_slice()));
        let data = digest(&state, parts);
        tensors.push((DIGEST, Bytes { dtype: Dtype::U8, shape: vec![data.len()], data }));
        let info = Some(HashMap::from([(STATE.to_string(), state)]));
        let bytes = serialize(tensors, &info)
            .map_err(|e| Error::param("checkpoint", e, "tensors that safetensors can hold"))?;
        replace(path, before, |out| out.write_all(&bytes).map_err(|e| Error::io(path, e)))
    }

    /// Reads what [`write`](Checkpoint::write) wrote.
    ///
    /// # Errors
    /// `Io` where there is none, `Data` where the file is anything else: it is measured before memory is asked for.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        Self::parse(&bytes, path)
    }

    pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let bad =
            |what: String| Error::data(path, "its header", format!("a checkpoint in safetensors format ({what})"));
        // the reader of the format multiplies sizes that a file may lie about
        guard(|| {
            let (_, meta) = SafeTensors::read_metadata(bytes).map_err(|e| bad(e.to_string()))?;
            let state = meta.metadata().as_ref().and_then(|m| m.get(STATE)).ok_or_else(|| bad("no state".into()))?;
            let whole = SafeTensors::deserialize(bytes).map_err(|e| bad(e.to_string()))?;
            let mut views: BTreeMap<_, _> = whole.tensors().into_iter().collect();
            let told = views.remove(DIGEST).ok_or_else(|| bad("no digest".into()))?;
            let parts = views.iter().map(|(name, v)| (name.as_str(), v.dtype(), v.shape(), v.data()));
            if told.data() != digest(state, parts) {
                return Err(Error::data(path, "its content", "the bytes that were written, their SHA-256 differs"));
            }
            let state = serde_json::from_str(state).map_err(|e| bad(e.to_string()))?;
            let mut tensors = BTreeMap::new();
            for (name, view) in views {
                let shape = view.shape().iter().try_fold((1usize, vec![]), |(count, mut shape), d| {
                    shape.push(i64::try_from(*d).ok()?);
                    Some((count.checked_mul(*d)?, shape))
                });
                let kind = kind(view.dtype()).ok_or_else(|| bad(format!("{name} of type {:?}", view.dtype())))?;
                let shape =
                    shape.filter(|(count, _)| count.checked_mul(kind.elt_size_in_bytes()) == Some(view.data().len()));
                let (_, shape) = shape.ok_or_else(|| bad(format!("{name} of shape {:?}", view.shape())))?;
                tensors.insert(name, Tensor::f_from_data_size(view.data(), &shape, kind)?);
            }
            Ok(Checkpoint { tensors, state, path: path.to_path_buf() })
        })
    }
}

/// SHA-256 of a checkpoint's content; the parts in the order of their names.
fn digest<'a>(state: &str, parts: impl Iterator<Item = (&'a str, Dtype, &'a [usize], &'a [u8])>) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(state);
    for (name, dtype, shape, data) in parts {
        hash.update(format!("\n{name} {dtype:?} {shape:?}\n"));
        hash.update(data);
    }
    hash.finalize().to_vec()
}

fn kind(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F64 => Kind::Double,
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        _ => return None,
    })
}

/// A tensor's bytes on the host.
struct Bytes {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl Bytes {
    fn of(t: &Tensor) -> Result<Self> {
        let t = t.to_device(Device::Cpu).contiguous();
        let all = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::I64, Dtype::I32, Dtype::U8, Dtype::BOOL];
        let dtype = all.into_iter().find(|d| kind(*d) == Some(t.kind()));
        let dtype =
            dtype.ok_or_else(|| Error::param("tensor", format!("{:?}", t.kind()), "a kind that can be saved"))?;
        let (count, size) = (t.numel(), t.kind().elt_size_in_bytes());
        let mut data = vec![0; count * size];
        t.f_copy_data_u8(&mut data, count)?;
        Ok(Bytes { dtype, shape: t.size().iter().map(|d| *d as usize).collect(), data })
    }
}

impl View for Bytes {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }
    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// What tells one data set from another: its shape and the SHA-256 of its bytes.
pub(crate) fn fingerprint(data: &tch::Tensor) -> Result<String> {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for rows in data.split(4096, 0) {
        let rows = rows.to_device(tch::Device::Cpu).contiguous();
        let mut bytes = vec![0; rows.numel() * rows.kind().elt_size_in_bytes()];
        rows.f_copy_data_u8(&mut bytes, rows.numel())?;
        hash.update(&bytes);
    }
    let digest: String = hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
    Ok(format!("{:?} {digest}", data.size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint.safetensors");
        let mut c = Checkpoint::default();
        let x = Tensor::from_slice(&[1.5f32, f32::NAN, -0.0]).view([3, 1]);
        c.put("x", &x);
        c.put("none", &Tensor::zeros([0, 3], (Kind::Double, Device::Cpu)));
        c.put("order", &Tensor::from_slice(&[3i64, 1, i64::MAX]));
        c.put_numbers("z", &[f64::NEG_INFINITY, 1e-300]);
        c.put_json("key", &u64::MAX).unwrap();
        c.write(&path).unwrap();
        let r = Checkpoint::read(&path).unwrap();
        assert_eq!(r.numbers::<2>("z").unwrap(), [f64::NEG_INFINITY, 1e-300]);
        assert_eq!(r.json::<u64>("key").unwrap(), u64::MAX);
        assert!(r.get("order").unwrap().equal(&c.get("order").unwrap()));
        assert_eq!(r.get("none").unwrap().size(), [0, 3]);
        let bits =
            |t: Tensor| Vec::<f32>::try_from(t.view(-1)).unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(r.get("x").unwrap()), bits(x));
        for e in [r.get("y").unwrap_err(), r.numbers::<3>("z").unwrap_err(), r.json::<String>("key").unwrap_err()] {
            assert!(e.to_string().contains("checkpoint.safetensors"), "{e}");
        }
    }
}
