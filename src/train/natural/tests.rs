//! Check the factors against the whole Fisher matrix, and the steps against the exact natural gradient.

use super::*;
use crate::density::{Energy, Layer, Layers};
use crate::model::{Cnn, CnnShape, Mlp, MlpShape, Rbm, Units};
use crate::numeric::Rng;
use tch::Device;

fn random(size: &[i64], seed: u64) -> Tensor {
    Rng::new(seed).normal(size, Kind::Double, Device::Cpu)
}

fn units(dv: i64, dh: i64, coupling: f64) -> Units {
    Units::bernoulli(&(random(&[dv, dh], 1) * coupling), &random(&[dv], 2), &random(&[dh], 3)).unwrap()
}

/// All states of the walkers with their exact probabilities.
fn states(of: &Units, joint: bool) -> (Tensor, Tensor) {
    let (dv, dh) = of.dims();
    let v = of.states(Layer::Visible, 0..1 << dv);
    let x = if joint {
        let h = of.states(Layer::Hidden, 0..1 << dh);
        let (n, m) = (v.size()[0], h.size()[0]);
        Tensor::cat(&[v.repeat_interleave_self_int(m, 0, None::<i64>), h.repeat([n, 1])], 1)
    } else {
        v
    };
    let w = (-of.evaluate_rows(&x).u).softmax(0, Kind::Double);
    (x, w)
}

/// ∂U/∂θ of every row, `[n, parameters]`.
fn gradients<M: Model>(model: &M, x: &Tensor) -> Tensor {
    let rows = (0..x.size()[0]).map(|i| {
        let mut at = model.evaluate(&x.narrow(0, i, 1));
        flat(&model.param_grad(&mut at, &Tensor::from_slice(&[1.0])))
    });
    Tensor::stack(&rows.collect::<Vec<_>>(), 0)
}

fn flat(tensors: &[Tensor]) -> Tensor {
    Tensor::cat(&tensors.iter().map(|t| t.reshape([-1])).collect::<Vec<_>>(), 0).to_kind(Kind::Double)
}

/// Cov_w(rows).
fn covariance(rows: &Tensor, w: &Tensor) -> Tensor {
    let away = rows - rows.tr().mv(w);
    (&away * w.unsqueeze(-1)).tr().matmul(&away)
}

fn direction<M: Model>(model: &M, x: &Tensor, w: &Tensor, g: Vec<Tensor>, damping: f64) -> Vec<Tensor> {
    let mut natural = Natural::new(damping, 0.0, 1);
    natural.direction(model, (&model.evaluate(x), w), g, &mut Tally::default())
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    ((a - b).abs().max() / b.abs().max()).double_value(&[])
}

#[test]
fn factors_are_blocks_of_the_fisher_matrix_by_enumeration() {
    let of = units(4, 3, 0.8);
    let rbm = Rbm::from_units(&of, false).unwrap();
    let (x, w) = states(&of, false);
    let full = covariance(&gradients(&rbm, &x), &w);
    let fisher = rbm.fisher(&rbm.evaluate(&x)).unwrap();
    let covariances: Vec<Tensor> = fisher.factors.iter().map(|f| f.moments(&w).covariance).collect();
    for (from, factor) in [(12, 0), (16, 1)] {
        let d = covariances[factor].size()[0];
        let block = full.narrow(0, from, d).narrow(1, from, d);
        assert!(gap(&covariances[factor], &block) < 1e-12, "factor {factor}");
    }
}

#[test]
fn where_f_is_a_kronecker_product_the_step_is_the_exact_natural_gradient() {
    // independent layers: in the centred parametrisation the blocks do not interfere, and that of W is a product
    for (coupling, exact) in [(0.0, true), (1.0, false)] {
        let of = units(4, 3, coupling);
        let rbm = Rbm::from_units(&of, true).unwrap();
        let (x, w) = states(&of, true);
        let f = covariance(&gradients(&rbm, &x), &w);
        let g = vec![random(&[4, 3], 5), random(&[4], 6), random(&[3], 7)];
        let wanted = Tensor::linalg_solve(&f, &flat(&g), true);
        let off = gap(&flat(&direction(&rbm, &x, &w, g, 1e-24)), &wanted);
        assert_eq!(off < 1e-8, exact, "coupling {coupling}: {off:e}");
    }
}

#[test]
fn the_last_layer_of_a_net_has_its_exact_block() {
    let shape = MlpShape { widths: vec![6, 5], ..Default::default() };
    let net = Mlp::new(3, &shape, Kind::Double, Device::Cpu).unwrap();
    let (x, w) = (random(&[40, 3], 1), random(&[40], 2).softmax(0, Kind::Double));
    let names = net.vars().variables();
    let params = net.vars().trainable_variables();
    let of = |name: &str| params.iter().position(|p| same(p, &names[name])).unwrap();
    let weights = of("last.weight");
    let offset: usize = params[..weights].iter().map(Tensor::numel).sum();
    let f = covariance(&gradients(&net, &x).narrow(1, offset as i64, 5), &w);
    let mut grads: Vec<Tensor> = params.iter().enumerate().map(|(i, p)| random(&p.size(), i as u64)).collect();
    // ∂U of the last bias is the same for all walkers: its gradient is 0
    grads[of("last.bias")] = params[of("last.bias")].zeros_like();
    let wanted = Tensor::linalg_solve(&f, &grads[weights].reshape([-1]), true);
    let step = direction(&net, &x, &w, grads, 1e-24);
    assert!(gap(&step[weights].reshape([-1]), &wanted) < 1e-6);
}

#[test]
fn inputs_and_gradients_of_every_layer_give_the_gradient_of_its_weights() {
    let x = random(&[5, 100], 3);
    let cnn = CnnShape { channels: vec![2, 3, 2, 3], ..Default::default() };
    let cnn = Cnn::new(10, &cnn, Kind::Double, Device::Cpu).unwrap();
    let mlp = Mlp::new(100, &MlpShape { widths: vec![7, 4], ..Default::default() }, Kind::Double, Device::Cpu);
    fn check<M: Model>(net: &M, x: &Tensor, layers: usize) {
        let params = net.vars().trainable_variables();
        no_grad(|| {
            params.iter().enumerate().for_each(|(i, p)| {
                p.shallow_clone().copy_(&(random(&p.size(), 20 + i as u64) * 0.3));
            })
        });
        let grads = net.param_grad(&mut net.evaluate(x), &Tensor::ones([5], (Kind::Double, Device::Cpu)));
        let fisher = net.fisher(&net.evaluate(x)).unwrap();
        Natural::check(net, &net.evaluate(x)).unwrap();
        let mut seen = 0;
        for block in &fisher.blocks {
            let Block::Product { weights, left, right, .. } = block else { continue };
            let product = fisher.factors[*left].rows.tr().matmul(&fisher.factors[*right].rows);
            let p = params.iter().position(|p| same(p, weights)).unwrap();
            assert!(gap(&product.view_as(weights), &grads[p]) < 1e-10);
            seen += 1;
        }
        assert_eq!(seen, layers);
    }
    check(&cnn, &x, 6);
    check(&mlp.unwrap(), &x, 3);
}

#[test]
fn steps_do_not_depend_on_the_units_of_the_visibles() {
    // exchange 0 and 1 of the first two units: v → 1 − v
    let of = units(4, 3, 0.8);
    let sign = Tensor::from_slice(&[-1.0, -1.0, 1.0, 1.0]);
    let flipped: Tensor = (1.0 - &sign) * 0.5;
    let to = Units::bernoulli(&(&of.w * sign.unsqueeze(-1)), &(&of.b * &sign), &(&of.c + flipped.matmul(&of.w)));
    let to = to.unwrap();
    let (one, other) = (Rbm::from_units(&of, false).unwrap(), Rbm::from_units(&to, false).unwrap());
    let (x, w) = states(&of, false);
    let y = (&x - &flipped).abs();
    let data = random(&[16], 9).softmax(0, Kind::Double) - &w;
    let step = |rbm: &Rbm, x: &Tensor, natural: bool| {
        let g = rbm.param_grad(&mut rbm.evaluate(x), &data);
        if natural { direction(rbm, x, &w, g, 0.05) } else { g }
    };
    for natural in [true, false] {
        let (a, b) = (step(&one, &x, natural), step(&other, &y, natural));
        let carried = [&a[0] * sign.unsqueeze(-1), &a[1] * &sign, &a[2] + flipped.matmul(&a[0])];
        let off = gap(&flat(&b), &flat(&carried));
        // a plain gradient does depend on them
        assert_eq!(off < 1e-10, natural, "natural: {natural}, {off:e}");
    }
}

#[test]
fn steps_of_a_gaussian_machine_scale_with_its_units() {
    let (scale, sigma) = (Tensor::from_slice(&[10.0, 0.1, 3.0]), Tensor::from_slice(&[0.7, 1.2, 0.4]));
    let (w, b, c) = (random(&[3, 2], 1), random(&[3], 2), random(&[2], 3));
    let rbm = |scale: &Tensor| Rbm::with_parameters(&w, &(&b * scale), &c, Some(&(&sigma * scale)), false).unwrap();
    let (one, other) = (rbm(&scale.ones_like()), rbm(&scale));
    let (x, weights) = (random(&[50, 3], 4), random(&[50], 5).softmax(0, Kind::Double));
    let step = |rbm: &Rbm, x: &Tensor| {
        let g = rbm.param_grad(&mut rbm.evaluate(x), &(random(&[50], 6).softmax(0, Kind::Double) - &weights));
        direction(rbm, x, &weights, g, 0.05)
    };
    let (a, b) = (step(&one, &x), step(&other, &(&x * &scale)));
    let wanted = [&a[0] * 1.0, &a[1] * &scale, &a[2] * 1.0, &a[3] * 1.0];
    for (b, wanted) in b.iter().zip(&wanted) {
        assert!(gap(b, wanted) < 1e-10);
    }
}

#[test]
fn the_variance_of_a_small_step_is_that_of_the_fisher_matrix() {
    let of = units(4, 3, 0.8);
    for joint in [false, true] {
        let rbm = Rbm::from_units(&of, joint).unwrap();
        let (x, w) = states(&of, joint);
        let f = covariance(&gradients(&rbm, &x), &w);
        let delta = vec![random(&[4, 3], 5), random(&[4], 6), random(&[3], 7)];
        let from: Vec<Tensor> = rbm.vars().trainable_variables().iter().map(Tensor::copy).collect();
        let at = rbm.evaluate(&x);
        let along = rbm.along(&at, &from, &delta).unwrap();
        let predicted = flat(&delta).dot(&f.mv(&flat(&delta))).double_value(&[]);
        for s in [1e-4, 1.0] {
            let change = &at.u - along(s);
            let measured = (&change - change.dot(&w)).square().dot(&w).double_value(&[]) / (s * s);
            assert_eq!((measured / predicted - 1.0).abs() < 1e-2, s < 0.1 || joint, "{s}: {measured}, {predicted}");
            // and along a segment U is what a forward pass finds
            let moved: Vec<Tensor> = from.iter().zip(&delta).map(|(a, d)| a + d * s).collect();
            let there = Rbm::with_parameters(&moved[0], &moved[1], &moved[2], None, joint).unwrap();
            assert!(gap(&along(s), &there.evaluate(&x).u) < 1e-12);
        }
    }
}
