//! Change one part of the coordinates affinely, given the other: a coupling layer, with its inverse and log-determinant.

use crate::model::ZEROS;
use crate::numeric::Rng;
use tch::nn::{self, Module};
use tch::{Device, Kind, Tensor};

/// z_B ← z_B e^{s(z_A)} + m(z_A), z_A as it is; s and m from one network, |s| < `bound`.
#[derive(Debug)]
pub(super) struct Coupling {
    /// Columns A, those B, and the order in which both together are the row again.
    kept: Tensor,
    changed: Tensor,
    order: Tensor,
    net: Vec<nn::Linear>,
    bound: f64,
}

/// Two parts of 0..d, of sizes ⌈d/2⌉ and ⌊d/2⌋: drawn by `rng`, except that pairs of coordinates leave no choice.
pub(super) fn parts(d: i64, rng: &mut Rng) -> [Vec<i64>; 2] {
    let all = if d == 2 { vec![0, 1] } else { rng.permutation(d as usize) };
    let (a, b) = all.split_at(all.len().div_ceil(2));
    [a.to_vec(), b.to_vec()]
}

impl Coupling {
    /// Columns `kept` and `changed` of a row, hidden widths of the network; all weights are 0 until they are initialised.
    pub fn new(path: &nn::Path, [kept, changed]: [&[i64]; 2], widths: &[i64], bound: f64) -> Self {
        let mut sizes = vec![kept.len() as i64];
        sizes.extend_from_slice(widths);
        let mut net: Vec<nn::Linear> = (sizes.windows(2).enumerate())
            .map(|(i, w)| nn::linear(path / format!("layer{i}"), w[0], w[1], ZEROS))
            .collect();
        net.push(nn::linear(path / "last", sizes[sizes.len() - 1], 2 * changed.len() as i64, ZEROS));
        let place = |v: &[i64]| Tensor::from_slice(v).to_device(path.device());
        let order = place(&[kept, changed].concat()).argsort(0, false);
        Coupling { kept: place(kept), changed: place(changed), order, net, bound }
    }

    /// s and m, `[n, |B|]` each.
    fn coefficients(&self, a: &Tensor) -> (Tensor, Tensor) {
        let last = self.net.len() - 1;
        let h = self.net[..last].iter().fold(a.shallow_clone(), |h, layer| layer.forward(&h).silu());
        let out = self.net[last].forward(&h).chunk(2, 1);
        ((&out[0] / self.bound).tanh() * self.bound, out[1].shallow_clone())
    }

    /// Rows z `[n, d]` through the layer, or back through its inverse, with the log-determinant of what was done, `[n]` in f64.
    pub fn apply(&self, z: &Tensor, inverse: bool) -> (Tensor, Tensor) {
        let (a, b) = (z.index_select(1, &self.kept), z.index_select(1, &self.changed));
        let (s, m) = self.coefficients(&a);
        let b = if inverse { (b - m) * (-&s).exp() } else { b * s.exp() + m };
        let log_det = s.sum_dim_intlist(-1, false, Kind::Double) * if inverse { -1.0 } else { 1.0 };
        (Tensor::cat(&[a, b], 1).index_select(1, &self.order), log_det)
    }
}

/// 0 for each of n rows.
pub(super) fn none(n: i64, device: Device) -> Tensor {
    Tensor::zeros([n], (Kind::Double, device))
}
