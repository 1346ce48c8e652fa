//! Lead from two independent layers to a model's, straight or through parameters saved on the way.

use crate::density::{Base, Bipartite, BipartitePath, Energy, Evaluation, Layers, Path, RowNumbers};
use crate::error::{Error, Result, no_grad};
use crate::numeric::Rng;
use std::cell::RefCell;
use tch::Tensor;

/// Two layers without coupling, drawn exactly: rows v, or rows (v | h) where walkers are joint.
#[derive(Debug)]
pub struct Independent<L> {
    layers: L,
    joint: bool,
}

impl<L: Layers> Independent<L> {
    /// Layers that do not act on each other, such as [`Layers::tempered`] ones at β = 0: that they do not is not checked.
    pub fn new(layers: L, joint: bool) -> Self {
        Independent { layers, joint }
    }

    /// The layers.
    pub fn layers(&self) -> &L {
        &self.layers
    }

    /// The same, in the same memory.
    pub(crate) fn share(&self) -> Self {
        Independent { layers: self.layers.share(), joint: self.joint }
    }
}

impl<L: Layers> Energy for Independent<L> {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.layers.evaluate_rows(x).u
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        self.layers.evaluate_rows(x)
    }
}

impl<L: Layers> Base for Independent<L> {
    fn sample(&self, n: usize, rng: &mut Rng) -> Tensor {
        // it does not matter which h v is drawn from
        let v = self.layers.draw_visible(&self.layers.hidden_zeros(n as i64), rng);
        if !self.joint {
            return v;
        }
        let h = self.layers.draw_hidden(&self.layers.hidden_input(&v), rng);
        Tensor::cat(&[v, h], -1)
    }

    fn log_z(&self) -> f64 {
        self.layers.log_z_independent()
    }
}

/// θ_t linear in t between stops: from independent layers through saved parameters to the model's.
///
/// Annealed importance sampling interpolates the start's parameters with the model's, which is this path without stops. With the
/// parameters saved along a training it follows that training instead.
#[derive(Debug)]
pub struct LayersPath<L> {
    base: Independent<L>,
    stops: Vec<L>,
    /// The layers at the last time asked for: the backward half of one step and the forward half of the next are at the same
    /// time.
    last: RefCell<Option<(f64, L)>>,
}

impl<L: Layers> LayersPath<L> {
    /// Straight from the model's [`start`](Bipartite::start) to the model.
    ///
    /// # Errors
    /// As [`through`](LayersPath::through).
    pub fn to<M: Bipartite<Layers = L>>(model: &M) -> Result<Self> {
        Self::through(model, &[])
    }

    /// From inverse temperature 0 to 1 ([`Layers::tempered`]): for discrete units from the uniform distribution, by scaling all
    /// parameters.
    pub fn scaled<M: Bipartite<Layers = L>>(model: &M) -> Self {
        let cold = model.layers().copy();
        let hot = cold.tempered(0.0);
        Self::along(vec![hot, cold], model.joint())
    }

    /// Through `saved` parameters in their order, at equal distances in t.
    ///
    /// # Errors
    /// Widths that differ from the model's.
    pub fn through<M: Bipartite<Layers = L>>(model: &M, saved: &[L]) -> Result<Self> {
        let end = model.layers().copy();
        if let Some(l) = saved.iter().find(|l| l.dims() != end.dims()) {
            let (dv, dh) = l.dims();
            let expected = format!("{:?}, as the model", end.dims());
            return Err(Error::Shape { name: "saved parameters", got: vec![dv, dh], expected });
        }
        let mut stops = vec![model.start().copy()];
        stops.extend(saved.iter().map(Layers::copy));
        stops.push(end);
        Ok(Self::along(stops, model.joint()))
    }

    /// Through stops of which the first has independent layers, with joint walkers or not.
    fn along(stops: Vec<L>, joint: bool) -> Self {
        LayersPath { base: Independent::new(stops[0].share(), joint), stops, last: RefCell::new(None) }
    }

    /// With walkers v whatever the model's are, under the free energy: what collapsed weights need.
    #[must_use]
    pub fn collapsed(mut self) -> Self {
        self.base.joint = false;
        self
    }
}

impl<L: Layers> Path for LayersPath<L> {
    fn base(&self) -> &dyn Base {
        &self.base
    }

    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        self.evaluate(t, x).u
    }

    /// v and the inputs of h.
    fn row_numbers(&self) -> Option<RowNumbers> {
        let (dv, dh) = self.base.layers.dims();
        Some(RowNumbers { kept: (dv + dh) as usize, graph: 0 })
    }

    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        no_grad(|| self.layers_at(t).evaluate_rows(x))
    }
}

impl<L: Layers> BipartitePath for LayersPath<L> {
    type Layers = L;

    fn layers_at(&self, t: f64) -> L {
        if let Some((_, layers)) = self.last.borrow().as_ref().filter(|(at, _)| *at == t) {
            return layers.share();
        }
        let end = self.stops.len() - 1;
        let place = t.clamp(0.0, 1.0) * end as f64;
        let k = (place.floor() as usize).min(end - 1);
        let layers = no_grad(|| self.stops[k].between(&self.stops[k + 1], place - k as f64));
        *self.last.borrow_mut() = Some((t, layers.share()));
        layers
    }
}
