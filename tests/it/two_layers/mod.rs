//! Check two-layer models of every kind of visible units: sums by hand, gradients, kernels, estimates, training, files.

mod own;
mod training;

use crate::rbm::differences;
use jarzynski::density::{Annealed, Bipartite, BipartitePath, Independent, Layer, Layers, LayersPath};
use jarzynski::io::frame;
use jarzynski::kernel::{Arrival, GibbsReverse, Move};
use jarzynski::model::{Rbm, RbmShape, Units, exact_log_z, one_hot};
use jarzynski::tch::{self, Device, Kind, Tensor};
use jarzynski::{
    Ais, At, Base, Energy, Evaluation, Gibbs, Kernel, Method, Model, Path, Rng, Run, Tempering, Trainer, Transport,
    anneal, log_prob,
};
use std::cell::Cell;

const BACKS: [GibbsReverse; 4] =
    [GibbsReverse::SameScan, GibbsReverse::ReversedScan, GibbsReverse::Exact, GibbsReverse::Collapsed];
/// States of a Potts unit.
const Q: i64 = 3;

fn max(t: &Tensor) -> f64 {
    t.abs().max().double_value(&[])
}

fn rows(x: &Tensor) -> Vec<Vec<f64>> {
    let flat = Vec::<f64>::try_from(x.to_kind(Kind::Double).contiguous().view(-1)).unwrap();
    flat.chunks(x.size()[1] as usize).map(<[f64]>::to_vec).collect()
}

fn tensor(rows: &[Vec<f64>]) -> Tensor {
    Tensor::from_slice(&rows.concat()).view([rows.len() as i64, rows[0].len() as i64])
}

/// Parameters with W, b, c ~ N(0, scale²), of that kind.
fn units(kind: &str, scale: f64) -> Units {
    let (dv, dh) = match kind {
        "gaussian" => (2, 3),
        "potts" => (2 * Q, 3),
        _ => (4, 3),
    };
    let mut rng = Rng::new(8);
    let mut draw = |size: &[i64]| rng.normal(size, Kind::Double, Device::Cpu) * scale;
    let (w, b, c) = (draw(&[dv, dh]), draw(&[dv]), draw(&[dh]));
    match kind {
        "bernoulli" => Units::bernoulli(&w, &b, &c),
        "gaussian" => Units::gaussian(&w, &b, &c, &Tensor::from_slice(&[0.5, 1.5])),
        "ising" => Units::ising(&w, &b, &c),
        _ => Units::potts(&w, &b, &c, Q),
    }
    .unwrap()
}

const KINDS: [&str; 4] = ["bernoulli", "gaussian", "ising", "potts"];
const DISCRETE: [&str; 3] = ["bernoulli", "ising", "potts"];

fn machine(kind: &str, scale: f64, joint: bool) -> Rbm {
    Rbm::from_units(&units(kind, scale), joint).unwrap()
}

/// All lists of `n` out of `states`.
fn lists(n: usize, states: &[Vec<f64>]) -> Vec<Vec<f64>> {
    (0..n).fold(vec![Vec::new()], |all, _| {
        all.iter().flat_map(|head| states.iter().map(move |s| [&head[..], s].concat())).collect()
    })
}

/// All visible states, without the library.
fn visible_states(kind: &str) -> Vec<Vec<f64>> {
    match kind {
        "bernoulli" => lists(4, &[vec![0.0], vec![1.0]]),
        "ising" => lists(4, &[vec![-1.0], vec![1.0]]),
        _ => lists(2, &[vec![1.0, 0.0, 0.0], vec![0.0, 1.0, 0.0], vec![0.0, 0.0, 1.0]]),
    }
}

fn log_sum(values: impl Iterator<Item = f64>) -> f64 {
    let v: Vec<f64> = values.collect();
    let top = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    v.iter().map(|x| (x - top).exp()).sum::<f64>().ln() + top
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn sums_over_both_layers_by_hand_give_energies_conditionals_and_expectations() {
    for kind in DISCRETE {
        let (rbm, p) = (machine(kind, 0.9, true), units(kind, 0.9));
        let (w, b, c) = (rows(&p.w), rows(&p.b.unsqueeze(0)).remove(0), rows(&p.c.unsqueeze(0)).remove(0));
        let (vs, hs) = (visible_states(kind), lists(3, &[vec![0.0], vec![1.0]]));
        let u =
            |v: &[f64], h: &[f64]| -dot(v, &b) - dot(h, &c) - v.iter().zip(&w).map(|(v, w)| v * dot(w, h)).sum::<f64>();
        let f = |v: &[f64]| -log_sum(hs.iter().map(|h| -u(v, h)));
        let g = |h: &[f64]| -log_sum(vs.iter().map(|v| -u(v, h)));
        let pairs: Vec<(&Vec<f64>, &Vec<f64>)> = vs.iter().flat_map(|v| hs.iter().map(move |h| (v, h))).collect();
        let log_z = log_sum(pairs.iter().map(|(v, h)| -u(v, h)));
        let by_hand = |f: &dyn Fn(&[f64], &[f64]) -> f64| {
            Tensor::from_slice(&pairs.iter().map(|(v, h)| f(v, h)).collect::<Vec<_>>())
        };
        let v = tensor(&pairs.iter().map(|(v, _)| (*v).clone()).collect::<Vec<_>>());
        let h = tensor(&pairs.iter().map(|(_, h)| (*h).clone()).collect::<Vec<_>>());
        let layers = rbm.units();
        let (a, input) = (layers.hidden_input(&v), layers.visible_input(&h));
        let weights = by_hand(&|v, h| (-u(v, h) - log_z).exp());
        let mean = |t: &Tensor| weights.unsqueeze(0).matmul(t).squeeze_dim(0);
        let exact = rbm.exact().unwrap();
        for (what, got, wanted) in [
            ("U", rbm.evaluate(&Tensor::cat(&[&v, &h], 1)).u, by_hand(&u)),
            ("F", rbm.evaluate(&v).u, by_hand(&|v, _| f(v))),
            ("p(h|v)", layers.log_hidden(&h, &a), by_hand(&|v, h| f(v) - u(v, h))),
            ("p(v|h)", layers.log_visible(&v, &input), by_hand(&|v, h| g(h) - u(v, h))),
            ("hidden sums", layers.log_weights(Layer::Hidden, &h), by_hand(&|_, h| -g(h))),
            ("visible sums", layers.log_weights(Layer::Visible, &v), by_hand(&|v, _| -f(v))),
            ("E v", exact.v, mean(&v)),
            ("E h", exact.h, mean(&h)),
            ("E v²", exact.v2, mean(&v.square())),
            ("E v hᵀ", exact.uh, v.tr().matmul(&(&h * weights.unsqueeze(-1)))),
            (
                "E(v|h)",
                rbm.visible_means(&h).unwrap(),
                tensor(
                    &pairs
                        .iter()
                        .map(|(_, h)| {
                            (0..b.len()).map(|j| vs.iter().map(|v| v[j] * (g(h) - u(v, h)).exp()).sum()).collect()
                        })
                        .collect::<Vec<_>>(),
                ),
            ),
        ] {
            assert!(max(&(got - wanted)) < 1e-10, "{kind}: {what}");
        }
        assert!((exact.log_z - log_z).abs() < 1e-10, "{kind}");
        // both layers' own enumerations: every state once, and the same log Z
        for (layer, all) in [(Layer::Visible, &vs), (Layer::Hidden, &hs)] {
            assert_eq!(layers.state_count(layer), all.len() as f64);
            let states = layers.states(layer, 0..all.len() as i64);
            let (mut listed, mut wanted) = (rows(&states), all.clone());
            listed.sort_by(|a, b| a.partial_cmp(b).unwrap());
            wanted.sort_by(|a, b| a.partial_cmp(b).unwrap());
            assert_eq!(listed, wanted, "{kind}, {layer:?}");
            let total = layers.log_weights(layer, &states).logsumexp(0, false).double_value(&[]);
            assert!((total - log_z).abs() < 1e-10, "{kind}, {layer:?}");
        }
        // Twin: one coupling less.
        let _ = p.w.get(0).get(0).g_sub_scalar_(0.1);
        assert!((exact_log_z(&p).unwrap() - log_z).abs() > 1e-3, "{kind}");
    }
}

#[test]
fn energies_free_energies_and_conditionals_belong_together() {
    for kind in KINDS {
        let (layers, mut rng) = (units(kind, 0.9), Rng::new(4));
        let h = rng.uniform_tensor(&[50, 3], Kind::Double, Device::Cpu).round();
        let v = layers.draw_visible(&h, &mut rng);
        layers.check_visible(&v).unwrap();
        let (a, g) = (layers.hidden_input(&v), layers.visible_input(&h));
        let u = layers.joint_energy(&v, &h, &a);
        // −U = −F(v) + log p(h|v) = log Σ_v e^{−U} + log p(v|h)
        assert!(max(&(&u - layers.free_energy(&v, &a) + layers.log_hidden(&h, &a))) < 1e-10, "{kind}");
        assert!(max(&(&u + layers.log_weights(Layer::Hidden, &h) + layers.log_visible(&v, &g))) < 1e-10, "{kind}");
        // independent layers: their log Z is that of the enumeration, and β = 0 has it for every kind
        let cold = layers.tempered(0.0);
        assert!((cold.log_z_independent() - exact_log_z(&cold).unwrap()).abs() < 1e-10, "{kind}");
        assert!(
            (layers.log_z_independent() - exact_log_z(&layers).unwrap()).abs() > 1e-3,
            "{kind}: coupled ones are not"
        );
    }
}

#[test]
fn draws_have_the_conditional_probabilities() {
    let n = 40_000;
    for kind in DISCRETE {
        let layers = units(kind, 1.2);
        let h = Tensor::from_slice(&[1.0, 0.0, 1.0]).view([1, 3]);
        let drawn = layers.draw_visible(&h.expand([n, 3], false).contiguous(), &mut Rng::new(3));
        let states = tensor(&visible_states(kind));
        let p = layers.log_visible(&states, &layers.visible_input(&h).expand_as(&states)).exp();
        let share = |s: i64| drawn.eq_tensor(&states.get(s)).all_dim(1, false).to_kind(Kind::Double).mean(Kind::Double);
        let z = |s: i64, p: f64| (share(s).double_value(&[]) - p) / (p * (1.0 - p) / n as f64).sqrt();
        let all: Vec<f64> = (0..states.size()[0]).map(|s| z(s, p.double_value(&[s]))).collect();
        assert!(all.iter().all(|z| z.abs() < 5.0), "{kind}: {all:?}");
        // Twin: each state with the probability of the one before it.
        let count = states.size()[0];
        let worst = (0..count).map(|s| z(s, p.double_value(&[(s + 1) % count])).abs()).fold(0.0, f64::max);
        assert!(worst > 5.0, "{kind}: {worst}");
    }
}

/// Rows that the machine's own chain gives after some sweeps.
fn sample(rbm: &Rbm, n: usize, seed: u64) -> Tensor {
    Tempering::new().replicas(4).chains(n).rounds(60).seed(seed).run(rbm).unwrap().v
}

#[test]
fn gradients_of_every_kind_agree_with_differences() {
    for kind in KINDS {
        let rbm = machine(kind, 0.7, false);
        let x = sample(&rbm, 7, 1);
        let w = Rng::new(5).normal(&[7], Kind::Double, Device::Cpu);
        let grads = rbm.param_grad(&mut rbm.evaluate_data(&x), &w);
        let f = || tch::no_grad(|| rbm.energy(&x)).dot(&w).double_value(&[]);
        assert!(differences(&rbm, &grads, &f) < 1e-7, "{kind}");
        let exact = rbm.exact_gradient(&x).unwrap();
        let h = || -rbm.exact_log_likelihood(&x).unwrap();
        assert!(differences(&rbm, &exact, &h) < 1e-7, "{kind}: the exact likelihood");
        // Twin: the data's part alone.
        let even = Tensor::full([7], 1.0 / 7.0, (Kind::Double, Device::Cpu));
        assert!(differences(&rbm, &rbm.param_grad(&mut rbm.evaluate_data(&x), &even), &h) > 1e-2, "{kind}");
        // joint rows: ∂U
        let rbm = machine(kind, 0.7, true);
        let x = rbm.with_hidden(&x, &mut Rng::new(2));
        let grads = rbm.param_grad(&mut rbm.evaluate(&x), &w);
        let f = || tch::no_grad(|| rbm.energy(&x)).dot(&w).double_value(&[]);
        assert!(differences(&rbm, &grads, &f) < 1e-7, "{kind}, joint");
    }
}

/// A Gibbs kernel whose weight is taken at the old parameters.
#[derive(Debug)]
struct Stale(Gibbs);

impl<'a, P: BipartitePath> Kernel<At<'a, P>> for Stale {
    fn forward(&self, u: &At<'a, P>, at: &Evaluation, rng: &mut Rng) -> Move {
        self.0.forward(u, at, rng)
    }
    fn backward(&self, u: &At<'a, P>, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        let (point, before) = (u.evaluate(&mv.y), At::new(u.path, u.t - u.h));
        let wrong = self.0.backward(&before, at, mv, rng);
        Arrival::new(wrong.lambda, point, wrong.cost)
    }
}

#[test]
fn gibbs_keeps_the_contract_for_every_kind_and_backward_density() {
    for kind in KINDS {
        for back in BACKS {
            let rbm = machine(kind, 0.4, back != GibbsReverse::Collapsed);
            let (path, exact) = (LayersPath::to(&rbm).unwrap(), rbm.exact().unwrap());
            // the same scan changes the weight at every sweep
            let steps = if back == GibbsReverse::SameScan { 4 } else { 10 };
            let scores = |run: &Run| {
                let (w, z) = (&run.walkers, run.walkers.log_z());
                let first = w.mean(&w.x().select(1, 0)).unwrap();
                let zs =
                    [(z.value - exact.log_z) / z.se.max(1e-9), (first.value - exact.v.double_value(&[0])) / first.se];
                zs.iter().fold(0.0f64, |m, z| if z.is_nan() { f64::INFINITY } else { m.max(z.abs()) })
            };
            for sweeps in [1, 2] {
                let kernel = Gibbs { sweeps, reverse: back };
                let run = Transport::new(kernel, steps, 10_000, 4).quiet().run(&path).unwrap();
                assert!(run.walkers.ess() > 0.05, "{kind}, {back:?}: ESS/N {}", run.walkers.ess());
                assert!(scores(&run) < 5.0, "{kind}, {back:?}, {sweeps} sweeps: {}", scores(&run));
                let twin = Transport::new(Stale(kernel), steps, 10_000, 4).quiet().run(&path).unwrap();
                assert!(scores(&twin) > 5.0, "{kind}, {back:?}, {sweeps} sweeps: a wrong weight passes");
            }
        }
    }
}

#[test]
fn annealing_and_tempering_meet_the_exact_answers_for_every_kind() {
    for kind in KINDS {
        // walkers of AIS and tempering are v also where the model's own are (v | h)
        let rbm = machine(kind, 1.0, kind == "ising");
        let exact = rbm.exact().unwrap();
        let ais = || Ais::new().steps(40).walkers(2_000).quiet();
        for (path, ais) in
            [("start", ais()), ("scaled", ais().scaled()), ("saved", ais().through(vec![units(kind, 0.5)]))]
        {
            let z = ais.log_z(&rbm).unwrap();
            assert!(((z.value - exact.log_z) / z.se).abs() < 5.0, "{kind}, {path}: {z}, exact {}", exact.log_z);
            assert!(z.se > 1e-6, "{kind}, {path}: {z}");
        }
        let v = sample(&rbm, 4_000, 3).select(1, 0);
        let se = (v.var(true).double_value(&[]) / 4_000.0).sqrt();
        let z = (v.mean(Kind::Double).double_value(&[]) - exact.v.double_value(&[0])) / se;
        assert!(z.abs() < 5.0, "{kind}: {z}");
        // `anneal` along the model's own path
        let machine = machine(kind, 1.0, false);
        let z = anneal(Gibbs::new(), &machine, 40, 4_000, 5).unwrap().walkers.log_z();
        assert!(((z.value - exact.log_z) / z.se).abs() < 5.0, "{kind}: {z}");
    }
}
