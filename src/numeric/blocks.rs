//! Run closed forms row by row in blocks on the CPU: no temporaries, all cores, the same bits for any thread count.

use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

/// Rows per block: at d = 50 in f64 a block is 200 kB, which stays in a core's cache.
const BLOCK: usize = 512;

/// Compiles a loop over rows twice, for any CPU and for vectors of 256 bits, and runs what this CPU can. Without fused
/// multiply-add both round every operation alike, so that the bits are the same on every machine.
macro_rules! wide {
    ($(#[$doc:meta])* $vis:vis fn $name:ident<T: $real:ident>($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        $vis fn $name<T: $real>($($arg: $ty),*) {
            #[inline(always)]
            fn narrow<T: $real>($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            if crate::numeric::blocks::avx2() {
                #[target_feature(enable = "avx2")]
                fn avx2<T: $real>($($arg: $ty),*) {
                    narrow($($arg),*)
                }
                // SAFETY: the CPU has AVX2, as was just asked.
                return unsafe { avx2($($arg),*) };
            }
            narrow($($arg),*)
        }
    };
}
pub(crate) use wide;

/// Whether the `wide!` loops run with AVX2.
#[cfg(target_arch = "x86_64")]
pub(crate) fn avx2() -> bool {
    #[cfg(test)]
    if tests::NARROW.load(std::sync::atomic::Ordering::Relaxed) {
        return false;
    }
    std::arch::is_x86_feature_detected!("avx2")
}

/// f32 or f64.
pub(crate) trait Real: Copy + Send + Sync + 'static + std::ops::AddAssign {
    const KIND: Kind;
    fn of(v: f64) -> Self;
    fn f(self) -> f64;
}

impl Real for f32 {
    const KIND: Kind = Kind::Float;
    #[inline(always)]
    fn of(v: f64) -> Self {
        v as f32
    }
    #[inline(always)]
    fn f(self) -> f64 {
        self as f64
    }
}

impl Real for f64 {
    const KIND: Kind = Kind::Double;
    #[inline(always)]
    fn of(v: f64) -> Self {
        v
    }
    #[inline(always)]
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

    /// Takes over a tensor that nobody else holds. One of another kind, on another device or with gaps between its elements is
    /// converted first, which copies it: what [`elements`](Fresh::elements) reads is always a dense run of `T`.
    pub fn reuse(tensor: Tensor) -> Self {
        let fits = tensor.kind() == T::KIND && on_host(&tensor);
        let tensor = if fits { tensor } else { tensor.to_device(Device::Cpu).to_kind(T::KIND).contiguous() };
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

/// Fewer rows than this are done by the calling thread: waking another one takes as long.
pub(crate) const FEW: usize = 2048;

/// Calls `f(first_row, rows of a, rows of b)` over blocks of rows of two buffers with `da` and `db` numbers per row.
pub(crate) fn for_blocks<A: Send, B: Send>(
    a: &mut [A],
    da: usize,
    b: &mut [B],
    db: usize,
    f: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    let (wide_a, wide_b) = (BLOCK * da.max(1), BLOCK * db.max(1));
    if a.len() <= FEW * da.max(1) {
        let blocks = a.chunks_mut(wide_a).zip(b.chunks_mut(wide_b)).enumerate();
        return blocks.for_each(|(i, (a, b))| f(i * BLOCK, a, b));
    }
    let blocks = a.par_chunks_mut(wide_a).zip(b.par_chunks_mut(wide_b)).enumerate();
    blocks.for_each(|(i, (a, b))| f(i * BLOCK, a, b));
}

/// Sums the vectors that `f(rows)` returns for blocks of rows, always in the same order.
pub(crate) fn sum_blocks(n: usize, f: impl Fn(std::ops::Range<usize>) -> Vec<f64> + Sync) -> Vec<f64> {
    let blocks: Vec<Vec<f64>> =
        (0..n.div_ceil(BLOCK)).into_par_iter().map(|i| f(i * BLOCK..n.min((i + 1) * BLOCK))).collect();
    blocks.into_iter().reduce(|a, b| a.iter().zip(&b).map(|(x, y)| x + y).collect()).unwrap_or_default()
}

/// Σ_j f(a_j, b_j, c_j) over rows of the same length in eight independent partial sums, kept in vector registers.
#[inline(always)]
pub(crate) fn lanes<A: Real, B: Real, C: Real>(a: &[A], b: &[B], c: &[C], f: impl Fn(f64, f64, f64) -> f64) -> f64 {
    let mut acc = [0.0; 8];
    let ((a, a_rest), (b, b_rest), (c, c_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>(), c.as_chunks::<8>());
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for l in 0..8 {
            acc[l] += f(a[l].f(), b[l].f(), c[l].f());
        }
    }
    for (((acc, a), b), c) in acc.iter_mut().zip(a_rest).zip(b_rest).zip(c_rest) {
        *acc += f(a.f(), b.f(), c.f());
    }
    ((acc[0] + acc[4]) + (acc[1] + acc[5])) + ((acc[2] + acc[6]) + (acc[3] + acc[7]))
}

/// Σ_i c_i t_i of tensors of one shape, in one pass over host memory.
pub(crate) fn combine(terms: &[(f64, &Tensor)]) -> Tensor {
    let Some((_, first)) = terms.first() else { return Tensor::new() };
    let alike = |t: &Tensor| on_host(t) && t.kind() == first.kind() && t.size() == first.size();
    if !terms.iter().all(|(_, t)| alike(t)) {
        return terms.iter().map(|(c, t)| *t * *c).reduce(|a, b| a + b).unwrap_or_default();
    }
    match first.kind() {
        Kind::Float => combine_rows::<f32>(terms, &first.size()),
        _ => combine_rows::<f64>(terms, &first.size()),
    }
}

/// Numbers per block of [`combine`].
const RUN: usize = 8192;

fn combine_rows<T: Real>(terms: &[(f64, &Tensor)], shape: &[i64]) -> Tensor {
    let mut out = Fresh::<T>::new(shape);
    let sources: Vec<(f64, &[T])> = terms.iter().map(|(c, t)| (*c, read::<T>(t))).collect();
    let each = |i: usize, out: &mut [T]| {
        let parts: Vec<(f64, &[T])> = sources.iter().map(|(c, t)| (*c, &t[i * RUN..i * RUN + out.len()])).collect();
        combine_block(&parts, out);
    };
    let all = out.elements();
    if all.len() <= 8 * RUN {
        all.chunks_mut(RUN).enumerate().for_each(|(i, out)| each(i, out));
    } else {
        all.par_chunks_mut(RUN).enumerate().for_each(|(i, out)| each(i, out));
    }
    out.tensor()
}

wide! {
    fn combine_block<T: Real>(parts: &[(f64, &[T])], out: &mut [T]) {
        match parts {
            [(a, x), (b, y)] => {
                out.iter_mut().zip(*x).zip(*y).for_each(|((o, x), y)| *o = T::of(a * x.f() + b * y.f()));
            }
            [(a, x), (b, y), (c, z)] => {
                out.iter_mut()
                    .zip(*x)
                    .zip(*y)
                    .zip(*z)
                    .for_each(|(((o, x), y), z)| *o = T::of(a * x.f() + b * y.f() + c * z.f()));
            }
            _ => {
                for (i, o) in out.iter_mut().enumerate() {
                    *o = T::of(parts.iter().map(|(c, t)| c * t[i].f()).sum());
                }
            }
        }
    }
}

/// |a − b − c|² of each row, `[n]` in f64.
pub(crate) fn gap_square(a: &Tensor, b: &Tensor, c: &Tensor) -> Tensor {
    let alike = |t: &Tensor| on_host(t) && t.kind() == a.kind() && t.size() == a.size() && t.dim() == 2;
    if ![a, b, c].into_iter().all(alike) {
        let wide = |t: &Tensor| t.to_kind(Kind::Double);
        return (wide(a) - wide(b) - wide(c)).square().sum_dim_intlist(-1, false, Kind::Double);
    }
    match a.kind() {
        Kind::Float => gap_rows::<f32>(a, b, c),
        _ => gap_rows::<f64>(a, b, c),
    }
}

fn gap_rows<T: Real>(a: &Tensor, b: &Tensor, c: &Tensor) -> Tensor {
    let (n, d) = (a.size()[0], a.size()[1] as usize);
    let (a, b, c) = (read::<T>(a), read::<T>(b), read::<T>(c));
    let mut out = Fresh::<f64>::new(&[n]);
    for_blocks(out.elements(), 1, &mut vec![(); n as usize], 1, |first, out, _| {
        let rows = first * d..(first + out.len()) * d;
        gap_block(&a[rows.clone()], &b[rows.clone()], &c[rows], d, out);
    });
    out.tensor()
}

wide! {
    fn gap_block<T: Real>(a: &[T], b: &[T], c: &[T], d: usize, out: &mut [f64]) {
        for (((a, b), c), out) in a.chunks(d).zip(b.chunks(d)).zip(c.chunks(d)).zip(out) {
            *out = lanes(a, b, c, |a, b, c| (a - b - c) * (a - b - c));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::density::Model;
    use crate::kernel::{Kernel, Ula};
    use crate::model::Mixture;
    use crate::numeric::Rng;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tch::{Device, Kind, Tensor};

    /// Keeps the loops from using AVX2.
    pub(crate) static NARROW: AtomicBool = AtomicBool::new(false);

    #[test]
    fn any_tensor_can_be_reused_and_is_read_as_what_it_is() {
        let odd = [
            Tensor::from_slice(&[1.0f32, 2.0, 3.0]),
            Tensor::from_slice(&[1i64, 2, 3]),
            Tensor::from_slice(&[1u8, 2, 3]),
            Tensor::from_slice(&[1.0f64, 9.0, 2.0, 9.0, 3.0, 9.0]).view([3, 2]).select(1, 0),
            Tensor::from_slice(&[1.0f64, 2.0, 3.0]),
        ];
        for tensor in odd {
            let what = format!("{tensor:?}");
            let mut fresh = super::Fresh::<f64>::reuse(tensor);
            assert_eq!(fresh.elements(), [1.0, 2.0, 3.0], "{what}");
            fresh.elements()[2] = -1.0;
            assert_eq!(Vec::<f64>::try_from(fresh.tensor()).unwrap(), [1.0, 2.0, -1.0], "{what}");
        }
        let row = Tensor::from_slice(&[7.0f32]).expand([4], false);
        assert_eq!(super::Fresh::<f32>::reuse(row).elements(), [7.0; 4]);
    }

    #[test]
    fn wide_and_narrow_loops_give_the_same_bits() {
        let all = |kind: Kind, d: usize| -> Vec<Tensor> {
            let mean = |v: f64| (0..d).map(|i| v + i as f64 / 7.0).collect::<Vec<_>>();
            let m = Mixture::with_sigma(&[mean(-1.0), mean(0.3)], &[0.2, 0.8], &[0.7, 1.3], kind, Device::Cpu).unwrap();
            let mut rng = Rng::new(3);
            let x = rng.normal(&[1_100, d as i64], kind, Device::Cpu);
            let w = rng.normal(&[1_100], Kind::Double, Device::Cpu);
            let mut at = crate::density::Energy::evaluate(&m, &x);
            let step = Ula::new(0.1).step(&m, &at, &mut rng);
            let mut out = m.param_grad(&mut at, &w);
            out.extend([
                at.u.copy(),
                at.grad().copy(),
                step.increment,
                step.evaluation.x.copy(),
                m.evaluate_data(&x).u,
            ]);
            out
        };
        for kind in [Kind::Float, Kind::Double] {
            for d in [1, 7, 8, 50] {
                let wide = all(kind, d);
                NARROW.store(true, Ordering::Relaxed);
                let narrow = all(kind, d);
                NARROW.store(false, Ordering::Relaxed);
                for (i, (a, b)) in wide.iter().zip(&narrow).enumerate() {
                    assert!(a.equal(b), "{kind:?}, d = {d}, tensor {i}");
                }
            }
        }
    }
}
