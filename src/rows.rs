//! Run closed forms row by row in blocks on the CPU: no temporaries, all cores, the same bits for any thread count.

use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

/// Rows per block: at d = 50 in f64 a block is 200 kB, which stays in a core's cache.
const BLOCK: usize = 512;

/// f32 or f64.
pub(crate) trait Real: Copy + Send + Sync + 'static + std::ops::AddAssign {
    const KIND: Kind;
    fn of(v: f64) -> Self;
    fn f(self) -> f64;
}

impl Real for f32 {
    const KIND: Kind = Kind::Float;
    fn of(v: f64) -> Self {
        v as f32
    }
    fn f(self) -> f64 {
        self as f64
    }
}

impl Real for f64 {
    const KIND: Kind = Kind::Double;
    fn of(v: f64) -> Self {
        v
    }
    fn f(self) -> f64 {
        self
    }
}

/// Whether a `[n, d]` tensor can be read in place as rows of `T`.
pub(crate) fn on_host(t: &Tensor) -> bool {
    t.device() == Device::Cpu && t.is_contiguous() && matches!(t.kind(), Kind::Float | Kind::Double)
}

/// The elements of a contiguous CPU tensor of kind `T`; empty if it is anything else.
pub(crate) fn read<T: Real>(t: &Tensor) -> &[T] {
    if t.device() != Device::Cpu || t.kind() != T::KIND || !t.is_contiguous() || t.numel() == 0 {
        return &[];
    }
    // SAFETY: the conditions above; the borrow of `t` keeps its storage alive, and nobody changes positions in place.
    unsafe { std::slice::from_raw_parts(t.data_ptr() as *const T, t.numel()) }
}

/// A fresh CPU tensor of kind `T` with its elements, for filling.
pub(crate) struct Fresh<T> {
    tensor: Tensor,
    kind: std::marker::PhantomData<T>,
}

impl<T: Real> Fresh<T> {
    pub fn new(shape: &[i64]) -> Self {
        Fresh { tensor: Tensor::empty(shape, (T::KIND, Device::Cpu)), kind: std::marker::PhantomData }
    }

    /// Takes over a tensor that nobody else holds.
    pub fn reuse(tensor: Tensor) -> Self {
        debug_assert!(tensor.kind() == T::KIND && on_host(&tensor));
        Fresh { tensor, kind: std::marker::PhantomData }
    }

    pub fn elements(&mut self) -> &mut [T] {
        if self.tensor.numel() == 0 {
            return &mut [];
        }
        // SAFETY: contiguous, of kind T, and owned by `self` alone.
        unsafe { std::slice::from_raw_parts_mut(self.tensor.data_ptr() as *mut T, self.tensor.numel()) }
    }

    pub fn tensor(self) -> Tensor {
        self.tensor
    }
}

/// Calls `f(first_row, rows of a, rows of b)` over blocks of rows of two buffers with `da` and `db` numbers per row.
pub(crate) fn for_blocks<A: Send, B: Send>(
    a: &mut [A],
    da: usize,
    b: &mut [B],
    db: usize,
    f: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    a.par_chunks_mut(BLOCK * da.max(1))
        .zip(b.par_chunks_mut(BLOCK * db.max(1)))
        .enumerate()
        .for_each(|(i, (a, b))| f(i * BLOCK, a, b));
}

/// Sums the vectors that `f(rows)` returns for blocks of rows, always in the same order.
pub(crate) fn sum_blocks(n: usize, f: impl Fn(std::ops::Range<usize>) -> Vec<f64> + Sync) -> Vec<f64> {
    let blocks: Vec<Vec<f64>> =
        (0..n.div_ceil(BLOCK)).into_par_iter().map(|i| f(i * BLOCK..n.min((i + 1) * BLOCK))).collect();
    blocks.into_iter().reduce(|a, b| a.iter().zip(&b).map(|(x, y)| x + y).collect()).unwrap_or_default()
}

/// Σ_j f(j) over 0..d in eight independent partial sums, which the compiler can keep in vector registers.
#[inline(always)]
pub(crate) fn lanes(d: usize, f: impl Fn(usize) -> f64) -> f64 {
    let mut acc = [0.0; 8];
    let whole = d - d % 8;
    let mut j = 0;
    while j < whole {
        for (l, a) in acc.iter_mut().enumerate() {
            *a += f(j + l);
        }
        j += 8;
    }
    for (l, a) in acc.iter_mut().enumerate().take(d - whole) {
        *a += f(whole + l);
    }
    ((acc[0] + acc[4]) + (acc[1] + acc[5])) + ((acc[2] + acc[6]) + (acc[3] + acc[7]))
}
