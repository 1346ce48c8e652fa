//! Sum over all states of one layer: log Z and expectations, exactly, in blocks of bounded memory.

use super::{Rbm, Units};
use crate::density::{Layer, Layers, Model};
use crate::error::{Error, Result, guard, no_grad};
use crate::numeric::Rng;
use tch::{Device, Kind, Tensor};

/// Most states that are enumerated: 2^25.
const MOST: f64 = 33_554_432.0;
/// States at a time.
const BLOCK: i64 = 1 << 13;

/// Exact expectations under an RBM, in f64, on its device.
#[derive(Debug)]
#[non_exhaustive]
pub struct Exact {
    /// log Z, nats.
    pub log_z: f64,
    /// E v, `[d_v]`.
    pub v: Tensor,
    /// E h, `[d_h]`.
    pub h: Tensor,
    /// E u hᵀ with u = v or v/σ, `[d_v, d_h]`.
    pub uh: Tensor,
    /// E v², `[d_v]`.
    pub v2: Tensor,
}

/// The layer with fewer states, the hidden one where they are equal; the other one is summed in closed form.
pub(super) fn smaller<L: Layers>(layers: &L) -> (Layer, f64) {
    let (visible, hidden) = (layers.state_count(Layer::Visible), layers.state_count(Layer::Hidden));
    if hidden <= visible { (Layer::Hidden, hidden) } else { (Layer::Visible, visible) }
}

fn enumerable<L: Layers>(layers: &L) -> Result<Layer> {
    let ((layer, states), (dv, dh)) = (smaller(layers), layers.dims());
    if states <= MOST {
        return Ok(layer);
    }
    let work = states.log10() + (dv.max(dh) as f64).log10();
    let expected = format!(
        "a smaller layer of at most 2^25 states: this one ({dv} × {dh}) has 2^{:.0}, about 10^{work:.0} operations. \
         `Ais` estimates log Z of any size",
        states.log2()
    );
    Err(Error::param("states to enumerate", format!("2^{:.0}", states.log2()), expected))
}

fn each_block<L: Layers>(layers: &L, layer: Layer, mut f: impl FnMut(&Tensor)) {
    let total = layers.state_count(layer) as i64;
    let mut first = 0;
    while first < total {
        f(&layers.states(layer, first..total.min(first + BLOCK)));
        first += BLOCK;
    }
}

fn log_z<L: Layers>(layers: &L, layer: Layer) -> f64 {
    let mut parts = Vec::new();
    each_block(layers, layer, |states| parts.push(layers.log_weights(layer, states).logsumexp(0, false)));
    Tensor::stack(&parts, 0).logsumexp(0, false).double_value(&[])
}

/// log Z of any two layers by enumerating the one with fewer states, nats, to the precision of their parameters' kind.
///
/// # Errors
/// More than 2^25 states; the message gives the cost.
pub fn exact_log_z<L: Layers>(layers: &L) -> Result<f64> {
    let layer = enumerable(layers)?;
    Ok(no_grad(|| log_z(layers, layer)))
}

/// n independent draws (v, h) of any two layers, `[n, d_v]` and `[n, d_h]`, from the enumerated probabilities of the layer with
/// fewer states.
///
/// # Errors
/// n = 0; as [`exact_log_z`].
pub fn exact_draws<L: Layers>(layers: &L, n: usize, rng: &mut Rng) -> Result<(Tensor, Tensor)> {
    if n == 0 {
        return Err(Error::param("draws", 0, "at least 1"));
    }
    let layer = enumerable(layers)?;
    guard(|| Ok(no_grad(|| draws(layers, layer, n, rng))))
}

fn draws<L: Layers>(layers: &L, layer: Layer, n: usize, rng: &mut Rng) -> (Tensor, Tensor) {
    let log_z = log_z(layers, layer);
    let mut points = rng.uniforms(n);
    points.sort_by(f64::total_cmp);
    let (mut numbers, mut first, mut cumulated) = (Vec::with_capacity(n), 0, 0.0);
    each_block(layers, layer, |states| {
        let p = (layers.log_weights(layer, states) - log_z).exp().to_kind(Kind::Double).to_device(Device::Cpu);
        for p in Vec::<f64>::try_from(p).unwrap_or_default() {
            cumulated += p;
            while numbers.len() < n && points[numbers.len()] < cumulated {
                numbers.push(first);
            }
            first += 1;
        }
    });
    // rounding can leave the cumulated probability short of the last point
    numbers.resize(n, first - 1);
    let order = rng.permutation(n);
    let drawn: Vec<Tensor> =
        order.iter().map(|i| numbers[*i as usize]).map(|s| layers.states(layer, s..s + 1)).collect();
    let states = Tensor::cat(&drawn, 0);
    match layer {
        Layer::Hidden => (layers.draw_visible(&states, rng), states),
        Layer::Visible => {
            let h = layers.draw_hidden(&layers.hidden_input(&states), rng);
            (states, h)
        }
    }
}

impl Units {
    fn expectations(&self, layer: Layer) -> Exact {
        let (log_z, (dv, dh)) = (log_z(self, layer), self.dims());
        let zeros = |size: &[i64]| Tensor::zeros(size, (Kind::Double, self.w.device()));
        let (mut v, mut h, mut uh, mut v2) = (zeros(&[dv]), zeros(&[dh]), zeros(&[dv, dh]), zeros(&[dv]));
        each_block(self, layer, |states| {
            let p = (self.log_weights(layer, states) - log_z).exp();
            // given the enumerated layer the other one's units are independent
            let (mean_v, square, mean_h) = match layer {
                Layer::Hidden => {
                    let mean = self.visible.mean(&self.visible_input(states));
                    let square = self.visible.mean_square(&mean);
                    (mean, square, states.shallow_clone())
                }
                Layer::Visible => (states.shallow_clone(), states.square(), self.hidden_input(states).sigmoid()),
            };
            let (weighted, column) = (&mean_h * p.unsqueeze(-1), p.unsqueeze(0));
            v = &v + column.matmul(&mean_v).squeeze_dim(0);
            v2 = &v2 + column.matmul(&square).squeeze_dim(0);
            h = &h + weighted.sum_dim_intlist(0, false, Kind::Double);
            uh = &uh + self.visible.coupled(&mean_v).tr().matmul(&weighted);
        });
        Exact { log_z, v, h, uh, v2 }
    }
}

impl Rbm {
    /// log Z by enumerating the layer with fewer states, nats.
    ///
    /// # Errors
    /// More than 2^25 states in both; the message gives the cost.
    pub fn exact_log_z(&self) -> Result<f64> {
        exact_log_z(&self.units().double())
    }

    /// Exact expectations.
    ///
    /// # Errors
    /// As [`exact_log_z`](Rbm::exact_log_z).
    pub fn exact(&self) -> Result<Exact> {
        let units = self.units().double();
        let layer = enumerable(&units)?;
        Ok(no_grad(|| units.expectations(layer)))
    }

    /// Mean exact log-likelihood of rows v, nats.
    ///
    /// # Errors
    /// As [`exact_log_z`](Rbm::exact_log_z); rows of the wrong width, not finite or no states of the visible units.
    pub fn exact_log_likelihood(&self, v: &Tensor) -> Result<f64> {
        Ok(self.log_likelihood(v, self.exact_log_z()?)?.mean(Kind::Double).double_value(&[]))
    }

    /// The exact gradient (4) of the cross-entropy of rows v `[n, d_v]`, in f64 on the RBM's device, one tensor per parameter
    /// in the store's order.
    ///
    /// # Errors
    /// As [`exact_log_likelihood`](Rbm::exact_log_likelihood).
    pub fn exact_gradient(&self, v: &Tensor) -> Result<Vec<Tensor>> {
        let v = self.data_rows("v", v)?;
        let exact = self.exact()?;
        let units = self.units().double();
        let mut at = self.evaluate_data(&v);
        let w = at.u.full_like(1.0 / at.len() as f64);
        let data = self.param_grad(&mut at, &w);
        let (b, own) = no_grad(|| units.visible.expected_gradients(&units, &exact));
        let model = [-exact.uh, b, -exact.h].into_iter().chain(own);
        Ok(data.into_iter().zip(model).map(|(d, m)| d.to_kind(Kind::Double) - m).collect())
    }
}
