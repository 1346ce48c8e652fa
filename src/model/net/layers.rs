//! Send rows through the layers of a neural energy, showing what goes into each: for U, and for the factors of natural gradients.

use super::{Cnn, Mlp};
use crate::density::Fisher;
use tch::nn::{self, Module};
use tch::{Kind, Tensor};

/// A linear layer, computed in `inner` if that is given; the parameters stay as they are.
pub(in crate::model) fn linear(layer: &nn::Linear, x: &Tensor, inner: Option<Kind>) -> Tensor {
    match inner {
        None => layer.forward(x),
        Some(kind) => {
            x.to_kind(kind).linear(&layer.ws.to_kind(kind), layer.bs.as_ref().map(|b| b.to_kind(kind)).as_ref())
        }
    }
}

/// The same for a convolution with half a kernel of padding.
pub(in crate::model) fn convolve(layer: &nn::Conv2D, x: &Tensor, stride: i64, inner: Option<Kind>) -> Tensor {
    let Some(kind) = inner else { return layer.forward(x) };
    let (ws, bs) = (layer.ws.to_kind(kind), layer.bs.as_ref().map(|b| b.to_kind(kind)));
    x.to_kind(kind).conv2d(&ws, bs.as_ref(), [stride; 2], [ws.size()[2] / 2; 2], [1; 2], 1)
}

impl Mlp {
    /// The output, showing the weights, the input and the output of every layer.
    pub(super) fn pass(&self, x: &Tensor, mut seen: impl FnMut(&Tensor, Option<&Tensor>, &Tensor, &Tensor)) -> Tensor {
        let (inner, last) = (self.well.inner, self.layers.len() - 1);
        let mut h = self.well.whitened(x);
        for layer in &self.layers[..last] {
            let z = linear(layer, &h, inner);
            seen(&layer.ws, layer.bs.as_ref(), &h, &z);
            h = z.silu();
        }
        let (layer, h) = (&self.layers[last], h.to_kind(self.well.kind));
        let z = layer.forward(&h);
        seen(&layer.ws, layer.bs.as_ref(), &h, &z);
        z.squeeze_dim(-1)
    }
}

impl Cnn {
    /// As for an [`Mlp`]; images are `[n, channels, height, width]`.
    pub(super) fn pass(&self, x: &Tensor, mut seen: impl FnMut(&Tensor, Option<&Tensor>, &Tensor, &Tensor)) -> Tensor {
        let inner = self.well.inner;
        let mut h = x.view([-1, 1, self.side, self.side]);
        for layer in &self.convs {
            let z = convolve(layer, &h, 2, inner);
            seen(&layer.ws, layer.bs.as_ref(), &h, &z);
            h = z.silu();
        }
        let features = h.flatten(1, -1);
        let z = linear(&self.head, &features, inner);
        seen(&self.head.ws, self.head.bs.as_ref(), &features, &z);
        let hidden = z.silu().to_kind(self.well.kind);
        let z = self.last.forward(&hidden);
        seen(&self.last.ws, self.last.bs.as_ref(), &hidden, &z);
        z.squeeze_dim(-1)
    }
}

/// Places and channels apart: `[n, c, h, w]` → `[n, h · w, c]`.
fn by_place(t: &Tensor) -> Tensor {
    t.flatten(2, -1).transpose(1, 2)
}

/// What went into each place of a convolution of the [`Cnn`], `[n, places, d_in]`.
fn patches(x: &Tensor, weights: &Tensor) -> Tensor {
    let size = weights.size()[2];
    x.im2col([size; 2], [1; 2], [size / 2; 2], [2; 2]).transpose(1, 2)
}

/// What a pass shows of each layer: weights, bias, input, output.
pub(super) type Seen<'a> = &'a mut dyn FnMut(&Tensor, Option<&Tensor>, &Tensor, &Tensor);

/// Inputs of every layer and gradients at its output, from one pass forward and one backward.
pub(super) fn fisher(n: usize, kind: Kind, pass: impl FnOnce(Seen) -> Tensor) -> Fisher {
    let (mut layers, mut outputs) = (Vec::new(), Vec::new());
    let total = tch::with_grad(|| {
        let u = pass(&mut |weights, bias, x, z| {
            layers.push((weights.shallow_clone(), bias.map(Tensor::shallow_clone), x.detach()));
            outputs.push(z.shallow_clone());
        });
        u.sum(u.kind())
    });
    let gradients = Tensor::run_backward(&[total], &outputs, false, false);
    layers.into_iter().zip(gradients).fold(Fisher::new().evaluated(n), |fisher, ((weights, bias, x), g)| {
        let (x, g) = (x.to_kind(kind), g.to_kind(kind));
        let (x, g) = if x.dim() == 4 { (patches(&x, &weights), by_place(&g)) } else { (x, g) };
        fisher.linear(&weights, bias.as_ref(), &x, &g)
    })
}
