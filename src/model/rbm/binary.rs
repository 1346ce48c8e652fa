//! Draw binary units from their inputs and sum softplus over them, in one pass over memory each.

use crate::numeric::blocks::read;
use crate::numeric::{FEW, Fresh, Real, Rng, Words, on_host, wide};
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

/// Numbers per block; each has its own stream of randomness, so that bits do not depend on the number of threads.
const BLOCK: usize = 8192;

/// e^x for x ≤ 0 to the precision of the type: what the loops below are made of.
pub(crate) trait Exp: Real {
    fn exp_negative(self) -> Self;
    /// −|x|.
    fn minus_abs(self) -> Self;
    /// x + y.
    fn plus(self, y: Self) -> Self;
    /// x · y.
    fn times(self, y: Self) -> Self;
    /// max(x, 0).
    fn above_zero(self) -> Self;
    /// Whether x < 0.
    fn below_zero(self) -> bool;
    /// σ(x).
    fn sigmoid(self) -> Self;
    /// 1 or 0.
    fn bit(one: bool) -> Self;
    /// Whether a uniform word says that the rarer outcome came, whose probability is σ(−|x|).
    fn rare(self, word: u32) -> bool;
}

/// The exponential of what draws compare with: its error is below their resolution for every x.
trait Roughly {
    fn exp_roughly(self) -> Self;
}

impl Roughly for f32 {
    /// e^x for x ≤ 0 to 2⁻³¹, as 2^n 2^f with |f| ≤ ½: one step of reduction, and 2^f by its best polynomial.
    #[inline(always)]
    fn exp_roughly(self) -> f32 {
        const MAGIC: f32 = 12_582_912.0;
        let x = if self > -87.0 { self } else { -87.0 };
        let y = x * std::f32::consts::LOG2_E;
        let shifted = y + MAGIC;
        let f = y - (shifted - MAGIC);
        let mut p = 1.327_647_1e-3f32;
        for c in [9.675_541e-3, 0.055_507_13, 0.240_221_2, 0.693_146_94, 1.000_000_1] {
            p = p * f + c;
        }
        f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
    }
}

impl Exp for f32 {
    #[inline(always)]
    fn minus_abs(self) -> f32 {
        -self.abs()
    }
    #[inline(always)]
    fn plus(self, y: f32) -> f32 {
        self + y
    }
    #[inline(always)]
    fn times(self, y: f32) -> f32 {
        self * y
    }
    #[inline(always)]
    fn sigmoid(self) -> f32 {
        let e = self.minus_abs().exp_negative();
        let small = e / (1.0 + e);
        if self < 0.0 { small } else { 1.0 - small }
    }
    #[inline(always)]
    fn above_zero(self) -> f32 {
        if self > 0.0 { self } else { 0.0 }
    }
    #[inline(always)]
    fn below_zero(self) -> bool {
        self < 0.0
    }
    #[inline(always)]
    fn exp_negative(self) -> f32 {
        // 2^n e^r with |r| ≤ ½ log 2: n by the rounding of a large constant, r in two steps so that no digit is lost, e^r by
        // its polynomial; no branches
        const MAGIC: f32 = 12_582_912.0;
        let x = if self > -87.0 { self } else { -87.0 };
        let shifted = x * std::f32::consts::LOG2_E + MAGIC;
        let n = shifted - MAGIC;
        let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
        let mut p = 1.987_569_1e-4f32;
        for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5, 1.0, 1.0] {
            p = p * r + c;
        }
        f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
    }
    #[inline(always)]
    fn rare(self, word: u32) -> bool {
        // u < e/(1 + e) as u (1 + e) < e: no division
        let e = self.minus_abs().exp_roughly();
        ((word >> 1) as i32 as f32 + 0.5) * (1.0 + e) < e * 2_147_483_648.0
    }
    #[inline(always)]
    fn bit(one: bool) -> f32 {
        f32::from_bits(0x3f80_0000 & (one as u32).wrapping_neg())
    }
}

impl Exp for f64 {
    #[inline(always)]
    fn minus_abs(self) -> f64 {
        -self.abs()
    }
    #[inline(always)]
    fn plus(self, y: f64) -> f64 {
        self + y
    }
    #[inline(always)]
    fn times(self, y: f64) -> f64 {
        self * y
    }
    #[inline(always)]
    fn sigmoid(self) -> f64 {
        let e = self.minus_abs().exp_negative();
        let small = e / (1.0 + e);
        if self < 0.0 { small } else { 1.0 - small }
    }
    #[inline(always)]
    fn above_zero(self) -> f64 {
        if self > 0.0 { self } else { 0.0 }
    }
    #[inline(always)]
    fn below_zero(self) -> bool {
        self < 0.0
    }
    #[inline(always)]
    fn exp_negative(self) -> f64 {
        self.exp()
    }
    #[inline(always)]
    fn rare(self, word: u32) -> bool {
        let e = (-self.abs()).exp();
        ((word >> 1) as f64 + 0.5) * (1.0 + e) < e * 2_147_483_648.0
    }
    #[inline(always)]
    fn bit(one: bool) -> f64 {
        one as u8 as f64
    }
}

/// 1 with probability σ(a), else 0, for each number of `a`, in a fresh tensor.
///
/// The rarer of the two outcomes has the probability that it should have to 2⁻³¹, so that saturated units are drawn as
/// exactly as balanced ones.
pub(crate) fn draw(a: &Tensor, rng: &mut Rng) -> Tensor {
    if !on_host(a) && rng.is_on_host() && a.device() != Device::Cpu {
        return draw(&near(a), rng).to_device(a.device());
    }
    if !on_host(a) {
        let u = rng.uniform_tensor(&a.size(), a.kind(), a.device());
        return u.lt_tensor(&a.sigmoid()).to_kind(a.kind());
    }
    match a.kind() {
        Kind::Float => draw_rows::<f32>(a, rng.words()),
        _ => draw_rows::<f64>(a, rng.words()),
    }
}

fn near(t: &Tensor) -> Tensor {
    t.to_device(Device::Cpu).contiguous()
}

fn draw_rows<T: Exp>(a: &Tensor, words: Words) -> Tensor {
    let (source, mut out) = (read::<T>(a), Fresh::<T>::new(&a.size()));
    in_blocks(out.elements(), BLOCK, |b, out| {
        out.copy_from_slice(&source[b * BLOCK..b * BLOCK + out.len()]);
        draw_block(out, &[], &mut words.block(b as u64));
    });
    out.tensor()
}

/// As [`draw`] from a + shift, shift `[d]` added to every row of `a` `[n, d]`; takes over the memory of `a`, which nobody
/// else may hold.
pub(crate) fn draw_shifted(a: Tensor, shift: &Tensor, rng: &mut Rng) -> Tensor {
    if !(on_host(&a) && on_host(shift) && a.kind() == shift.kind()) {
        if rng.is_on_host() && a.device() != Device::Cpu {
            // the CPU's blocks begin at whole rows
            return draw_shifted(near(&a), &near(shift), rng).to_device(a.device());
        }
        return draw(&(a + shift), rng);
    }
    match a.kind() {
        Kind::Float => shifted_rows::<f32>(a, shift, rng.words()),
        _ => shifted_rows::<f64>(a, shift, rng.words()),
    }
}

fn shifted_rows<T: Exp>(a: Tensor, shift: &Tensor, words: Words) -> Tensor {
    // whole rows per block, so that the shift begins where the block does
    let d = shift.numel().max(1);
    let (shift, mut out) = (read::<T>(shift), Fresh::<T>::reuse(a));
    in_blocks(out.elements(), (BLOCK / d).max(1) * d, |b, x| draw_block(x, shift, &mut words.block(b as u64)));
    out.tensor()
}

/// Calls `f(block number, block)` over a buffer, on all cores if it is large.
fn in_blocks<T: Send>(all: &mut [T], block: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    if all.len() <= 4 * BLOCK {
        all.chunks_mut(block).enumerate().for_each(|(b, x)| f(b, x));
    } else {
        all.par_chunks_mut(block).enumerate().for_each(|(b, x)| f(b, x));
    }
}

/// Words drawn at a time: a loop over plain arrays is what compilers turn into vectors.
const WORDS: usize = 512;

wide! {
    fn draw_block<T: Exp>(x: &mut [T], shift: &[T], words: &mut crate::numeric::Lanes) {
        if !shift.is_empty() {
            for row in x.chunks_mut(shift.len()) {
                row.iter_mut().zip(shift).for_each(|(x, s)| *x = x.plus(*s));
            }
        }
        let mut buffer = [0u32; WORDS];
        for x in x.chunks_mut(WORDS) {
            for eight in buffer[..x.len().next_multiple_of(8)].chunks_exact_mut(8) {
                eight.copy_from_slice(&words.next());
            }
            for (x, r) in x.iter_mut().zip(&buffer) {
                *x = T::bit(x.rare(*r) == x.below_zero());
            }
        }
    }
}

/// Σ_i log(1 + e^{a_i}) over each row of `a` `[n, d]`: `[n]` in f64.
pub(crate) fn softplus_sum(a: &Tensor) -> Tensor {
    if !on_host(a) || a.dim() != 2 {
        return a.to_kind(Kind::Double).softplus().sum_dim_intlist(-1, false, Kind::Double);
    }
    match a.kind() {
        Kind::Float => softplus_rows::<f32>(a),
        _ => softplus_rows::<f64>(a),
    }
}

fn softplus_rows<T: Exp>(a: &Tensor) -> Tensor {
    let (n, d) = (a.size()[0], a.size()[1] as usize);
    let (a, mut out) = (read::<T>(a), Fresh::<f64>::new(&[n]));
    rows(out.elements(), |first, out| softplus_block(&a[first * d..(first + out.len()) * d], d, out));
    out.tensor()
}

/// Rows per block of reductions.
const ROWS: usize = 64;

fn rows(out: &mut [f64], f: impl Fn(usize, &mut [f64]) + Sync) {
    if out.len() <= FEW / 16 {
        return f(0, out);
    }
    out.par_chunks_mut(ROWS).enumerate().for_each(|(i, out)| f(i * ROWS, out));
}

wide! {
    fn softplus_block<T: Exp>(a: &[T], d: usize, out: &mut [f64]) {
        for (row, out) in a.chunks(d).zip(out) {
            // max(a, 0) summed, and the product of the 1 + e^{−|a|}, whose logarithm is the rest: few logarithms per row
            let (mut sum, mut logs) = (0.0f64, 0.0f64);
            for part in row.chunks(4096) {
                let (mut sums, mut product) = ([0.0f64; 8], [1.0f64; 8]);
                let (whole, rest) = part.as_chunks::<32>();
                for x in whole {
                    // four of each lane in the type's own precision: at most 2⁴, and the sum of four inputs
                    let (mut few, mut times) = ([T::bit(false); 8], [T::bit(true); 8]);
                    for k in 0..4 {
                        for l in 0..8 {
                            let x = x[8 * k + l];
                            few[l] = few[l].plus(x.above_zero());
                            times[l] = times[l].times(T::bit(true).plus(x.minus_abs().exp_negative()));
                        }
                    }
                    for l in 0..8 {
                        sums[l] += few[l].f();
                        product[l] *= times[l].f();
                    }
                }
                for x in rest {
                    sums[0] += x.above_zero().f();
                    product[0] *= 1.0 + x.minus_abs().exp_negative().f();
                }
                sum += sums.iter().sum::<f64>();
                // 2^512 at most, each way
                let half = |p: &[f64]| p.iter().product::<f64>();
                logs += if part.len() <= 900 { half(&product).ln() } else { product.iter().map(|p| p.ln()).sum::<f64>() };
            }
            *out = sum + logs;
        }
    }
}

/// (w_n σ(a_n), w_n) for each row, in a fresh tensor: a `[n, d]`, w `[n]` in f64 → `[n, d + 1]`. Multiplied by vᵀ it gives the
/// gradients of W and of b in one product.
pub(crate) fn weighted_means(a: &Tensor, w: &Tensor) -> Tensor {
    let w = w.to_kind(Kind::Double).contiguous();
    if !on_host(a) || a.dim() != 2 || w.numel() as i64 != a.size()[0] || !on_host(&w) {
        let column = w.to_kind(a.kind()).unsqueeze(-1);
        return Tensor::cat(&[a.sigmoid() * &column, column], -1);
    }
    match a.kind() {
        Kind::Float => means_rows::<f32>(a, &w),
        _ => means_rows::<f64>(a, &w),
    }
}

fn means_rows<T: Exp>(a: &Tensor, w: &Tensor) -> Tensor {
    let (n, d) = (a.size()[0], a.size()[1] as usize);
    let (source, weights, mut out) = (read::<T>(a), read::<f64>(w), Fresh::<T>::new(&[n, d as i64 + 1]));
    let rows = (BLOCK / (d + 1)).max(1);
    in_blocks(out.elements(), rows * (d + 1), |i, out| {
        means_block(&source[i * rows * d..], &weights[i * rows..], d, out);
    });
    out.tensor()
}

wide! {
    fn means_block<T: Exp>(a: &[T], w: &[f64], d: usize, out: &mut [T]) {
        for ((row, out), w) in a.chunks(d).zip(out.chunks_mut(d + 1)).zip(w) {
            let w = T::of(*w);
            let (out, last) = out.split_at_mut(d);
            last.fill(w);
            for (x, out) in row.iter().zip(out) {
                *out = x.sigmoid().times(w);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn the_exponential_is_one() {
        for i in 0..20_000 {
            let x = -(i as f32) * 0.0043;
            let exact = (x as f64).exp();
            assert!((x.exp_negative() as f64 / exact - 1.0).abs() < 3e-7, "{x}: {} not {exact}", x.exp_negative());
        }
        assert!((-200.0f32).exp_negative() < 1e-37 && 0.0f32.exp_negative() == 1.0);
    }

    #[test]
    fn draws_have_their_probabilities() {
        for kind in [Kind::Float, Kind::Double] {
            let n = 400_000i64;
            for a in [-9.0f64, -2.0, -0.3, 0.0, 0.7, 3.0, 8.0] {
                let p = 1.0 / (1.0 + (-a).exp());
                let input = Tensor::full([n / 8, 8], a, (kind, Device::Cpu));
                let mean = draw(&input, &mut Rng::new(3)).mean(Kind::Double).double_value(&[]);
                let z = (mean - p) / (p * (1.0 - p) / n as f64).sqrt();
                assert!(z.abs() < 5.0, "{kind:?}, a = {a}: {mean}, p = {p}");
                // the same by a shift
                let shift = Tensor::full([8], 1.5, (kind, Device::Cpu));
                let shifted = draw_shifted(&input - 1.5, &shift, &mut Rng::new(4)).mean(Kind::Double).double_value(&[]);
                assert!(((shifted - p) / (p * (1.0 - p) / n as f64).sqrt()).abs() < 5.0);
            }
            // neighbours in memory are independent
            let x = draw(&Tensor::zeros([n], (kind, Device::Cpu)), &mut Rng::new(5)) - 0.5;
            for lag in [1, 2, 7, 8, 16] {
                let (a, b) = (x.narrow(0, 0, n - lag), x.narrow(0, lag, n - lag));
                let z = (a * b * 4.0).sum(Kind::Double).double_value(&[]) / (n as f64).sqrt();
                assert!(z.abs() < 5.0, "lag {lag}: {z}");
            }
        }
    }

    #[test]
    fn reductions_agree_with_tensors() {
        for kind in [Kind::Float, Kind::Double] {
            for (n, d) in [(300, 37), (5, 1), (1_000, 128)] {
                let a = Rng::new(1).normal(&[n, d], kind, Device::Cpu) * 6.0;
                let tolerance = if kind == Kind::Float { 1e-6 } else { 1e-14 };
                let wide = a.to_kind(Kind::Double);
                let exact = wide.clamp_min(0.0) + (-wide.abs()).exp().log1p();
                let exact = exact.sum_dim_intlist(-1, false, Kind::Double);
                let gap = ((softplus_sum(&a) - &exact) / exact.abs().clamp_min(1.0)).abs().max().double_value(&[]);
                assert!(gap < tolerance, "{kind:?} {n} {d}: {gap}");
                let w = Rng::new(2).normal(&[n], Kind::Double, Device::Cpu);
                let exact = Tensor::cat(&[wide.sigmoid() * w.unsqueeze(-1), w.unsqueeze(-1)], -1);
                assert!((weighted_means(&a, &w) - exact).abs().max().double_value(&[]) < tolerance);
            }
        }
    }
}
