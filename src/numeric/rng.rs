//! Draw every random number of the library from one seeded, splittable, counter-based source.

use rand::seq::SliceRandom;
use rand::{Rng as _, RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};
use tch::{Device, Kind, Tensor};

/// Numbers per block. Each block has its own stream, so the bits do not depend on how many threads fill the blocks.
const BLOCK: usize = 8192;

/// A key and a counter: the whole state. Draw `c` of block `b` comes from a stream named by `(key, c, b)`, so the same
/// seed gives the same bits for any number of threads, and a saved pair resumes exactly.
///
/// Passed explicitly as `&mut Rng`; nothing in the library reads another source on the CPU. On a GPU the tensors are
/// drawn by libtorch's generator, seeded from this one at each draw.
///
/// ```
/// use jarzynski::Rng;
/// let (mut a, mut b) = (Rng::new(7), Rng::new(7));
/// assert_eq!(a.uniform(), b.uniform());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rng {
    key: u64,
    counter: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    host: bool,
}

/// SplitMix64's finaliser: a bijection of 64 bits in which every input bit reaches every output bit.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Rng {
    /// A source named by `seed`.
    pub fn new(seed: u64) -> Self {
        Rng { key: mix(seed), counter: 0, host: false }
    }

    /// The same source drawing on the CPU whatever the device: a run on a GPU then has the noise of a run on the CPU and agrees
    /// with it within rounding; the noise is sent to the device, which takes time.
    ///
    /// ```
    /// use jarzynski::Rng;
    /// assert_eq!(Rng::new(7).on_host().uniform(), Rng::new(7).uniform());
    /// ```
    #[must_use]
    pub fn on_host(mut self) -> Self {
        self.host = true;
        self
    }

    /// An independent source named by `label`: splitting does not advance `self`, so adding a consumer (a monitor, say)
    /// changes nobody else's numbers.
    #[must_use]
    pub fn split(&self, label: u64) -> Rng {
        Rng { key: mix(self.key ^ mix(label.wrapping_add(0xA076_1D64_78BD_642F))), counter: 0, host: self.host }
    }

    fn stream(key: u64, counter: u64, block: u64) -> Xoshiro256PlusPlus {
        Xoshiro256PlusPlus::seed_from_u64(mix(key ^ mix(counter ^ mix(block))))
    }

    /// The next draw's own generator, for host-side algorithms (permutations, single numbers).
    fn next(&mut self) -> Xoshiro256PlusPlus {
        self.counter += 1;
        Self::stream(self.key, self.counter, u64::MAX)
    }

    /// One uniform number in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.next().random()
    }

    /// `n` uniform numbers in [0, 1).
    pub fn uniforms(&mut self, n: usize) -> Vec<f64> {
        let mut g = self.next();
        (0..n).map(|_| g.random()).collect()
    }

    /// A uniform permutation of 0..n.
    pub fn permutation(&mut self, n: usize) -> Vec<i64> {
        let mut p: Vec<i64> = (0..n as i64).collect();
        p.shuffle(&mut self.next());
        p
    }

    /// `k` indices drawn uniformly, with replacement, from 0..n.
    pub fn indices(&mut self, n: usize, k: usize) -> Vec<i64> {
        let mut g = self.next();
        (0..k).map(|_| g.random_range(0..n.max(1)) as i64).collect()
    }

    /// The same as a tensor `[k]`, drawn where the walkers are.
    pub(crate) fn index_tensor(&mut self, n: usize, k: usize, device: Device) -> Tensor {
        if device == Device::Cpu || self.host {
            return Tensor::from_slice(&self.indices(n, k)).to_device(device);
        }
        self.counter += 1;
        self.on_device(|| Tensor::randint(n.max(1) as i64, [k as i64], (Kind::Int64, device)))
    }

    /// Whether it draws on the CPU whatever the device.
    pub(crate) fn is_on_host(&self) -> bool {
        self.host
    }

    /// Draws by libtorch's generator, which all threads share: nobody may come between its seed and its numbers.
    fn on_device(&self, draw: impl FnOnce() -> Tensor) -> Tensor {
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        tch::manual_seed((mix(self.key ^ mix(self.counter)) >> 1) as i64);
        draw()
    }

    /// Words for a draw of the caller's own, block by block.
    pub(crate) fn words(&mut self) -> Words {
        self.counter += 1;
        Words { key: self.key, counter: self.counter }
    }

    /// A seed for a generator outside this library.
    pub fn seed(&mut self) -> u64 {
        self.next().next_u64()
    }

    /// Independent N(0, 1) numbers of the given shape, kind (`Float` or `Double`) and device.
    pub fn normal(&mut self, shape: &[i64], kind: Kind, device: Device) -> Tensor {
        self.fill(shape, kind, device, |g| StandardNormal.sample(g), |s| Tensor::randn(s, (kind, device)))
    }

    /// Independent uniform numbers in [0, 1) of the given shape, kind and device.
    pub fn uniform_tensor(&mut self, shape: &[i64], kind: Kind, device: Device) -> Tensor {
        self.fill(shape, kind, device, |g| g.random::<f64>(), |s| Tensor::rand(s, (kind, device)))
    }

    fn fill(
        &mut self,
        shape: &[i64],
        kind: Kind,
        device: Device,
        draw: impl Fn(&mut Xoshiro256PlusPlus) -> f64 + Sync,
        on_device: impl Fn(&[i64]) -> Tensor,
    ) -> Tensor {
        self.counter += 1;
        if device != Device::Cpu && !self.host {
            return self.on_device(|| on_device(shape));
        }
        let (key, counter) = (self.key, self.counter);
        let wide = if kind == Kind::Float { Kind::Float } else { Kind::Double };
        let t = Tensor::empty(shape, (wide, Device::Cpu));
        let n = t.numel();
        if n == 0 {
            return t.to_kind(kind).to_device(device);
        }
        // SAFETY: `t` is fresh, contiguous, of `n` elements of the kind matched on, and not shared with anyone yet.
        match wide {
            Kind::Float => {
                let s = unsafe { std::slice::from_raw_parts_mut(t.data_ptr() as *mut f32, n) };
                blocks(s, |b, chunk| {
                    let mut g = Self::stream(key, counter, b);
                    chunk.iter_mut().for_each(|v| *v = draw(&mut g) as f32);
                });
            }
            _ => {
                let s = unsafe { std::slice::from_raw_parts_mut(t.data_ptr() as *mut f64, n) };
                blocks(s, |b, chunk| {
                    let mut g = Self::stream(key, counter, b);
                    chunk.iter_mut().for_each(|v| *v = draw(&mut g));
                });
            }
        }
        let t = if wide == kind { t } else { t.to_kind(kind) };
        if device == Device::Cpu { t } else { t.to_device(device) }
    }
}

/// Eight xoshiro128++ generators side by side in vector registers: 32 bits each at a time, for draws of one bit.
pub(crate) struct Lanes([[u32; 8]; 4]);

impl Lanes {
    fn new(mut seed: u64) -> Self {
        let mut state = [[0; 8]; 4];
        for word in &mut state {
            for pair in word.chunks_mut(2) {
                seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let z = mix(seed);
                (pair[0], pair[1]) = (z as u32, (z >> 32) as u32);
            }
        }
        Lanes(state)
    }

    /// The next eight words.
    #[inline(always)]
    pub fn next(&mut self) -> [u32; 8] {
        let [s0, s1, s2, s3] = &mut self.0;
        let mut out = [0; 8];
        for i in 0..8 {
            out[i] = s0[i].wrapping_add(s3[i]).rotate_left(7).wrapping_add(s0[i]);
            let t = s1[i] << 9;
            s2[i] ^= s0[i];
            s3[i] ^= s1[i];
            s1[i] ^= s2[i];
            s0[i] ^= s3[i];
            s2[i] ^= t;
            s3[i] = s3[i].rotate_left(11);
        }
        out
    }
}

/// The words of one draw: a generator for each of its blocks, whatever thread asks for it.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    key: u64,
    counter: u64,
}

impl Words {
    /// The generator of block `b`.
    pub fn block(self, b: u64) -> Lanes {
        Lanes::new(mix(self.key ^ mix(self.counter ^ mix(b))))
    }
}

fn blocks<T: Send>(s: &mut [T], f: impl Fn(u64, &mut [T]) + Sync) {
    if s.len() <= 2 * BLOCK {
        s.chunks_mut(BLOCK).enumerate().for_each(|(b, c)| f(b as u64, c));
    } else {
        s.par_chunks_mut(BLOCK).enumerate().for_each(|(b, c)| f(b as u64, c));
    }
}
