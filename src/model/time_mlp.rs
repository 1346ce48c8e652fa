//! Give the network of position and time that learned flows are made of, with its tangents in forward mode.

use super::net::linear;
use tch::nn::{self, Module};
use tch::{Kind, Tensor};

/// (x, t) → widths → outputs with SiLU; t enters the first layer through t, cos kπt and sin kπt.
#[derive(Debug)]
pub(crate) struct TimeMlp {
    place: nn::Linear,
    time: nn::Linear,
    hidden: Vec<nn::Linear>,
    last: nn::Linear,
    frequencies: usize,
    scale: f64,
    /// What the layers below the last one compute in, where it is not the kind of the parameters.
    pub inner: Option<Kind>,
}

impl TimeMlp {
    /// Layers under `path`, the last one called `last`; positions are multiplied by `scale` first.
    pub fn new(path: &nn::Path, d: i64, widths: &[i64], outputs: i64, frequencies: usize, scale: f64) -> Self {
        let linear = |name: &str, a: i64, b: i64| nn::linear(path / name, a, b, super::ZEROS);
        let features = 1 + 2 * frequencies as i64;
        let hidden = widths.windows(2).enumerate().map(|(i, w)| linear(&format!("hidden{i}"), w[0], w[1])).collect();
        TimeMlp {
            place: linear("place", d, widths[0]),
            time: linear("time", features, widths[0]),
            hidden,
            last: linear("last", widths[widths.len() - 1], outputs),
            frequencies,
            scale,
            inner: None,
        }
    }

    /// x `[n, d]`, t `[n or 1, 1]` → `[n, outputs]`.
    pub fn forward(&self, x: &Tensor, t: &Tensor) -> Tensor {
        let inner = self.inner;
        let level = linear(&self.time, &time_features(t, self.frequencies), inner);
        let first = linear(&self.place, &(x * self.scale), inner) + level;
        let h = self.hidden.iter().fold(first.silu(), |h, layer| linear(layer, &h, inner).silu());
        self.last.forward(&h.to_kind(x.kind()))
    }

    /// The value and the Jacobian in x applied to tangents `[n, d, m]` (the Jacobian itself for none): `[n, outputs]` and
    /// `[n, outputs, m]`. One pass forward with m tangents beside each row.
    pub fn push(&self, x: &Tensor, t: &Tensor, tangents: Option<&Tensor>) -> (Tensor, Tensor) {
        let through = |layer: &nn::Linear, v: &Tensor| v.matmul(&layer.ws.tr());
        // tangents as rows, [n or 1, m, width]: each layer is one matrix product
        let mut v = match tangents {
            Some(v) => through(&self.place, &(v.transpose(1, 2) * self.scale)),
            None => (self.place.ws.tr() * self.scale).unsqueeze(0),
        };
        let mut z = self.place.forward(&(x * self.scale)) + self.time.forward(&time_features(t, self.frequencies));
        let mut layers = self.hidden.iter();
        loop {
            let (value, slope) = silu(&z);
            v = &v * slope.unsqueeze(1);
            match layers.next() {
                Some(layer) => (z, v) = (layer.forward(&value), through(layer, &v)),
                None => return (self.last.forward(&value), through(&self.last, &v).transpose(1, 2)),
            }
        }
    }
}

/// t, cos kπt and sin kπt for k to `frequencies`: `[n or 1, 1]` → `[n or 1, 1 + 2 frequencies]`.
pub(super) fn time_features(t: &Tensor, frequencies: usize) -> Tensor {
    let mut all = vec![t.shallow_clone()];
    for k in 1..=frequencies {
        let angle = t * (std::f64::consts::PI * k as f64);
        all.push(angle.cos());
        all.push(angle.sin());
    }
    Tensor::cat(&all, -1)
}

/// z σ(z) and its derivative σ(z)(1 + z(1 − σ(z))).
fn silu(z: &Tensor) -> (Tensor, Tensor) {
    let s = z.sigmoid();
    let value = z * &s;
    let slope = &s + &value * (1.0 - &s);
    (value, slope)
}
