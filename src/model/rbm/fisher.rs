//! Give an RBM's Fisher matrix in factors, and its energy along a change of θ.

use super::binary::softplus_sum;
use super::{Rbm, sum};
use crate::density::{Along, Block, Evaluation, Fisher, Layers};
use crate::error::no_grad;
use tch::{Kind, Tensor};

impl Rbm {
    /// W: Cov(u) ⊗ Cov(p), the biases: Cov(u) and Cov(p), with p = σ(a), or h where walkers have it; both layers centred.
    pub(super) fn factors(&self, at: &Evaluation) -> Option<Fisher> {
        no_grad(|| {
            let units = self.units();
            let (v, h) = units.split(&at.x);
            let p = h.unwrap_or_else(|| match at.input() {
                Some(a) => a.sigmoid(),
                None => units.hidden_input(&v).sigmoid(),
            });
            let own = match units.visible.parameter() {
                Some((_, parameter)) => {
                    let statistic = units.visible.parameter_gradient(&units, &v, &p)?;
                    Some((parameter.shallow_clone(), statistic))
                }
                None => None,
            };
            let mut fisher = Fisher::new();
            let left = fisher.covariance(&units.visible.coupled(&v));
            let right = fisher.covariance(&p);
            let biases = [Some(units.b.shallow_clone()), Some(units.c.shallow_clone())];
            fisher.blocks.extend([
                Block::Whole { parameter: units.b.shallow_clone(), factor: left, scale: units.visible.bias_scale() },
                Block::Whole { parameter: units.c.shallow_clone(), factor: right, scale: None },
                Block::Product { weights: units.w.shallow_clone(), left, right, biases },
            ]);
            Some(match own {
                Some((parameter, statistic)) => fisher.parameter(&parameter, &statistic),
                None => fisher,
            })
        })
    }

    /// U at the rows of `at` under θ + sδ as a function of s: vδW once, then one pass over the hidden units for each s.
    pub(super) fn segment(&self, at: &Evaluation, from: &[Tensor], delta: &[Tensor]) -> Option<Along> {
        let ([_, b, _], [w, to_b, to_c], Some(a)) = (from, delta, at.input()) else { return None };
        let _no_grad = tch::no_grad_guard();
        let units = self.units();
        let (v, h) = units.split(&at.x);
        let (b, to_b, a, u) = (b.detach(), to_b.shallow_clone(), a.shallow_clone(), at.u.to_kind(Kind::Double));
        let change = to_c.addmm(&units.visible.coupled(&v), w);
        let visible = units.visible.with_parameter(None);
        let alone = visible.energy(&v, &b);
        if let Some(h) = h {
            let coupling = sum(&(&change * h));
            return Some(Box::new(move |s| &u + visible.energy(&v, &(&b + &to_b * s)) - &alone - &coupling * s));
        }
        let hidden = softplus_sum(&a);
        Some(Box::new(move |s| {
            let now = softplus_sum(&(&a + &change * s));
            &u + visible.energy(&v, &(&b + &to_b * s)) - &alone + &hidden - now
        }))
    }
}
