//! Propose by one Euler step of Langevin dynamics, with α and λ of the step: what ULA and MALA share, eqs (13), (15), (16).

use crate::density::Evaluation;
use crate::numeric::blocks::read;
use crate::numeric::{Fresh, Real, Rng, for_blocks, lanes, on_host, wide};
use tch::{Kind, Tensor};

/// y = x − h∇U(x) + √(2h) ξ and α = U(x) + ½(y−x)·∇U(x) + (h/4)|∇U(x)|², eqs (15)-(16): `[n, d]` and `[n]` in f64.
pub(super) fn propose(at: &Evaluation, h: f64, rng: &mut Rng) -> (Tensor, Tensor) {
    let (x, g) = (&at.x, at.grad());
    let noise = rng.normal(&x.size(), x.kind(), x.device());
    let u = at.u.to_kind(Kind::Double);
    let (y, half) = match x.kind() {
        Kind::Float if on_host(x) && on_host(g) => propose_rows::<f32>(x, g, h, noise),
        Kind::Double if on_host(x) && on_host(g) => propose_rows::<f64>(x, g, h, noise),
        _ => {
            let step = noise * (2.0 * h).sqrt() - g * h;
            (x + &step, dot(&(&step + g * (0.5 * h)), g) * 0.5)
        }
    };
    (y, u + half)
}

fn propose_rows<T: Real>(x: &Tensor, g: &Tensor, h: f64, noise: Tensor) -> (Tensor, Tensor) {
    let (n, d) = (x.size()[0], x.size()[1] as usize);
    let (x, g) = (read::<T>(x), read::<T>(g));
    // The noise's own buffer becomes y: it is fresh and nobody else holds it.
    let (mut y, mut half) = (Fresh::<T>::reuse(noise), Fresh::<f64>::new(&[n]));
    for_blocks(y.elements(), d, half.elements(), 1, |first, y, half| {
        let rows = first * d..first * d + y.len();
        propose_block(&x[rows.clone()], &g[rows], h, d, y, half);
    });
    (y.tensor(), half.tensor())
}

wide! {
    /// In: noise in `y`. Out: the proposal in `y`, its α − U(x) in `half`.
    fn propose_block<T: Real>(x: &[T], g: &[T], h: f64, d: usize, y: &mut [T], half: &mut [f64]) {
        let scale = (2.0 * h).sqrt();
        for (((x, g), y), out) in x.chunks(d).zip(g.chunks(d)).zip(y.chunks_mut(d)).zip(half) {
            for ((x, g), y) in x.iter().zip(g).zip(y.iter_mut()) {
                *y = T::of(x.f() + (scale * y.f() - h * g.f()));
            }
            // From the rounded y: the weight must belong to the move that was made.
            *out = reverse_row(y, x, g, h);
        }
    }
}

/// ½(x−y)·g + (h/4)|g|².
#[inline(always)]
fn reverse_row<T: Real>(x: &[T], y: &[T], g: &[T], h: f64) -> f64 {
    0.5 * lanes(x, y, g, |x, y, g| ((x - y) + 0.5 * h * g) * g)
}

/// λ = U(y) + ½(x−y)·∇U(y) + (h/4)|∇U(y)|²: of the reverse move y → x, with `there` the evaluation at y, `[n]` in f64.
pub(super) fn reverse_lambda(x: &Tensor, there: &Evaluation, h: f64) -> Tensor {
    let (y, g) = (&there.x, there.grad());
    let u = there.u.to_kind(Kind::Double);
    let fits = on_host(x) && on_host(y) && on_host(g) && x.kind() == g.kind();
    u + match x.kind() {
        Kind::Float if fits => reverse_rows::<f32>(x, y, g, h),
        Kind::Double if fits => reverse_rows::<f64>(x, y, g, h),
        _ => dot(&((x - y) + g * (0.5 * h)), g) * 0.5,
    }
}

fn reverse_rows<T: Real>(x: &Tensor, y: &Tensor, g: &Tensor, h: f64) -> Tensor {
    let (n, d) = (x.size()[0], x.size()[1] as usize);
    let (x, y, g) = (read::<T>(x), read::<T>(y), read::<T>(g));
    let mut half = Fresh::<f64>::new(&[n]);
    for_blocks(half.elements(), 1, &mut vec![(); n as usize], 1, |first, half, _| {
        let rows = first * d..(first + half.len()) * d;
        reverse_block(&x[rows.clone()], &y[rows.clone()], &g[rows], h, d, half);
    });
    half.tensor()
}

wide! {
    fn reverse_block<T: Real>(x: &[T], y: &[T], g: &[T], h: f64, d: usize, half: &mut [f64]) {
        for (((x, y), g), out) in x.chunks(d).zip(y.chunks(d)).zip(g.chunks(d)).zip(half) {
            *out = reverse_row(x, y, g, h);
        }
    }
}

/// Row-wise inner product, `[n, d] · [n, d] → [n]` in f64.
fn dot(a: &Tensor, b: &Tensor) -> Tensor {
    (a * b).sum_dim_intlist(-1, false, Kind::Double)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn rows_and_tensors_agree() {
        for kind in [Kind::Float, Kind::Double] {
            let mut rng = Rng::new(1);
            let mut draw = || rng.normal(&[1300, 11], kind, Device::Cpu);
            let (x, g, u) = (draw(), draw(), draw().select(1, 0).contiguous());
            let at = Evaluation::new(x.copy(), u.copy(), g.copy());
            // A transposed copy of the same numbers is not contiguous and takes the tensor path.
            let strided = |t: &Tensor| t.tr().contiguous().tr();
            let other = Evaluation::new(strided(&x), u, strided(&g));
            let (y, a) = propose(&at, 0.3, &mut Rng::new(5));
            let (z, b) = propose(&other, 0.3, &mut Rng::new(5));
            let tolerance = if kind == Kind::Float { 1e-4 } else { 1e-12 };
            let gap = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
            assert!(gap(&y, &z) < tolerance && gap(&a, &b) < tolerance);
            let (c, d) = (reverse_lambda(&y, &at, 0.3), reverse_lambda(&strided(&y), &other, 0.3));
            assert!(gap(&c, &d) < tolerance);
        }
    }
}
