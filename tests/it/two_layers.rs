//! Check two-layer models of every kind of visible units: sums by hand, gradients, kernels, estimates, training, files.

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

/// A user's own path: inverse temperature t².
#[derive(Debug)]
struct Slow {
    base: Independent<Units>,
    end: Units,
}

impl Path for Slow {
    fn base(&self) -> &dyn Base {
        &self.base
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        self.evaluate(t, x).u
    }
    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        self.layers_at(t).evaluate_rows(x)
    }
}

impl BipartitePath for Slow {
    type Layers = Units;
    fn layers_at(&self, t: f64) -> Units {
        self.end.tempered(t * t)
    }
}

#[test]
fn gibbs_moves_along_a_path_of_ones_own() {
    let end = units("ising", 0.8);
    let exact = exact_log_z(&end).unwrap();
    let path = Slow { base: Independent::new(end.tempered(0.0), false), end };
    let z = Transport::new(Gibbs::new(), 30, 4_000, 2).quiet().run(&path).unwrap().walkers.log_z();
    assert!(((z.value - exact) / z.se).abs() < 5.0, "{z}, exact {exact}");
    let z = Transport::new(Stale(Gibbs::new()), 30, 4_000, 2).quiet().run(&path).unwrap().walkers.log_z();
    assert!(((z.value - exact) / z.se.max(1e-9)).abs() > 5.0, "a wrong weight passes");
}

thread_local! {
    /// How often parameters were interpolated.
    static MIXED: Cell<usize> = const { Cell::new(0) };
}

/// A user's own layers: 0/1 visible units and hidden spins ±1, U = −b·v − c·h − vᵀWh.
#[derive(Debug)]
struct Spins {
    w: Tensor,
    b: Tensor,
    c: Tensor,
}

fn row_sum(t: &Tensor) -> Tensor {
    t.sum_dim_intlist(-1, false, Kind::Double)
}

/// Σ log(e^{x} + e^{−x}).
fn log_two_cosh(x: &Tensor) -> Tensor {
    row_sum(&(x.abs() + (x.abs() * -2.0).exp().log1p()))
}

fn coins(p: &Tensor, rng: &mut Rng) -> Tensor {
    rng.uniform_tensor(&p.size(), Kind::Double, Device::Cpu).lt_tensor(p).to_kind(Kind::Double)
}

impl Spins {
    fn new() -> Self {
        let mut rng = Rng::new(6);
        let mut draw = |size: &[i64]| rng.normal(size, Kind::Double, Device::Cpu) * 0.6;
        Spins { w: draw(&[5, 3]), b: draw(&[5]), c: draw(&[3]) }
    }

    fn each(&self, f: impl Fn(&Tensor) -> Tensor) -> Self {
        Spins { w: f(&self.w), b: f(&self.b), c: f(&self.c) }
    }
}

impl Layers for Spins {
    fn dims(&self) -> (i64, i64) {
        (5, 3)
    }
    fn hidden_input(&self, v: &Tensor) -> Tensor {
        self.c.addmm(v, &self.w)
    }
    fn visible_input(&self, h: &Tensor) -> Tensor {
        self.b.addmm(h, &self.w.tr())
    }
    fn draw_hidden(&self, a: &Tensor, rng: &mut Rng) -> Tensor {
        coins(&(a * 2.0).sigmoid(), rng) * 2.0 - 1.0
    }
    fn draw_visible(&self, h: &Tensor, rng: &mut Rng) -> Tensor {
        coins(&self.visible_input(h).sigmoid(), rng)
    }
    fn log_hidden(&self, h: &Tensor, a: &Tensor) -> Tensor {
        row_sum(&(a * h)) - log_two_cosh(a)
    }
    fn log_visible(&self, v: &Tensor, g: &Tensor) -> Tensor {
        row_sum(&(g * v - g.softplus()))
    }
    fn joint_energy(&self, v: &Tensor, h: &Tensor, a: &Tensor) -> Tensor {
        -v.mv(&self.b) - row_sum(&(a * h))
    }
    fn free_energy(&self, v: &Tensor, a: &Tensor) -> Tensor {
        -v.mv(&self.b) - log_two_cosh(a)
    }
    fn tempered(&self, beta: f64) -> Self {
        self.each(|t| t * beta)
    }
    fn between(&self, other: &Self, t: f64) -> Self {
        MIXED.set(MIXED.get() + 1);
        let mix = |a: &Tensor, b: &Tensor| a * (1.0 - t) + b * t;
        Spins { w: mix(&self.w, &other.w), b: mix(&self.b, &other.b), c: mix(&self.c, &other.c) }
    }
    fn share(&self) -> Self {
        self.each(Tensor::shallow_clone)
    }
    fn check_visible(&self, _v: &Tensor) -> jarzynski::Result<()> {
        Ok(())
    }
    fn state_count(&self, layer: Layer) -> f64 {
        if layer == Layer::Visible { 32.0 } else { 8.0 }
    }
    fn states(&self, layer: Layer, numbers: std::ops::Range<i64>) -> Tensor {
        let all = match layer {
            Layer::Visible => lists(5, &[vec![0.0], vec![1.0]]),
            Layer::Hidden => lists(3, &[vec![-1.0], vec![1.0]]),
        };
        tensor(&all[numbers.start as usize..numbers.end as usize])
    }
    fn log_weights(&self, layer: Layer, states: &Tensor) -> Tensor {
        match layer {
            Layer::Visible => -self.free_energy(states, &self.hidden_input(states)),
            Layer::Hidden => states.mv(&self.c) + row_sum(&self.visible_input(states).softplus()),
        }
    }
    fn hidden_zeros(&self, n: i64) -> Tensor {
        Tensor::zeros([n, 3], (Kind::Double, Device::Cpu))
    }
}

impl Energy for Spins {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.evaluate_rows(x).u
    }
    fn evaluate(&self, x: &Tensor) -> Evaluation {
        self.evaluate_rows(x)
    }
}

impl Bipartite for Spins {
    type Layers = Spins;
    fn layers(&self) -> Spins {
        self.share()
    }
}

impl Annealed for Spins {
    type Path<'a> = LayersPath<Spins>;
    fn path(&self) -> jarzynski::Result<LayersPath<Spins>> {
        LayersPath::to(self)
    }
}

#[test]
fn layers_of_ones_own_have_all_estimates_and_are_interpolated_once_per_step() {
    let spins = Spins::new();
    let exact = exact_log_z(&spins).unwrap();
    let all = spins.log_weights(Layer::Visible, &spins.states(Layer::Visible, 0..32));
    assert!((all.logsumexp(0, false).double_value(&[]) - exact).abs() < 1e-10);
    assert!((spins.tempered(0.0).log_z_independent() - 8.0 * 2f64.ln()).abs() < 1e-10);
    MIXED.set(0);
    let z = Ais::new().steps(30).walkers(4_000).quiet().log_z(&spins).unwrap();
    // one per step, the copies of both stops, and the looks at both ends before the first step; two per step would be 60
    assert!((30..=35).contains(&MIXED.get()), "{} interpolations in 30 steps", MIXED.get());
    let other = anneal(Gibbs::new(), &spins, 30, 4_000, 3).unwrap().walkers.log_z();
    for z in [z, other] {
        assert!(((z.value - exact) / z.se).abs() < 5.0, "{z}, exact {exact}");
    }
    let states = spins.states(Layer::Visible, 0..32);
    let mean = ((&all - exact).exp() * states.select(1, 0)).sum(Kind::Double).double_value(&[]);
    let v = Tempering::new().replicas(4).chains(4_000).rounds(40).seed(2).run(&spins).unwrap().v.select(1, 0);
    let z = (v.mean(Kind::Double).double_value(&[]) - mean) / (mean * (1.0 - mean) / 4_000.0).sqrt();
    assert!(z.abs() < 5.0, "{z}");
}

// ---- training

fn started(kind: &str, data: &Tensor, shape: &RbmShape) -> jarzynski::Result<Rbm> {
    match kind {
        "bernoulli" => Rbm::bernoulli(data, shape),
        "gaussian" => Rbm::gaussian(data, shape),
        "ising" => Rbm::ising(data, shape),
        _ => Rbm::potts(data, Q, shape),
    }
}

/// Rows whose units share one hidden state, each unit with errors of its own.
fn correlated(kind: &str, n: i64) -> Tensor {
    let mut rng = Rng::new(7);
    let mut uniform = |d: i64| rng.uniform_tensor(&[n, d], Kind::Double, Device::Cpu);
    let (shared, wrong) = (uniform(1), uniform(4).lt(0.1).to_kind(Kind::Double));
    let bit = shared.lt(0.5).to_kind(Kind::Double);
    let bits = (&bit - &wrong).abs();
    match kind {
        "bernoulli" => bits,
        "ising" => bits * 2.0 - 1.0,
        "gaussian" => rng.normal(&[n, 2], Kind::Double, Device::Cpu) * 0.5 + (bit * 3.0 - 1.5),
        _ => one_hot(&((shared * Q as f64).floor() + wrong.narrow(1, 0, 2)).remainder(Q as f64), Q).unwrap(),
    }
}

#[test]
fn every_kind_trains_by_every_method() {
    for kind in KINDS {
        let data = correlated(kind, 300);
        for (method, centred) in [
            (Method::Jarzynski { ess_min: 0.5 }, false),
            (Method::Pcd, kind != "gaussian"),
            (Method::Cd { k: 1 }, false),
        ] {
            let shape = RbmShape { hidden: 3, scale: 0.2, centred, ..Default::default() };
            let mut rbm = started(kind, &data, &shape).unwrap();
            let independent = started(kind, &data, &RbmShape { scale: 0.0, ..shape }).unwrap();
            let before = independent.exact_log_likelihood(&data).unwrap();
            let trainer = Trainer::new(Gibbs::new(), method).walkers(300).steps(300).lr(0.2).seed(3).quiet();
            let run = trainer.train(&mut rbm, &data).unwrap();
            assert!(run.finished(), "{kind}, {method:?}: {:?}", run.outcome);
            let after = rbm.exact_log_likelihood(&data).unwrap();
            assert!(after > before + 0.1, "{kind}, {method:?}: {after} after {before}");
            if let Some(z) = run.log_z() {
                let off = (z.value - rbm.exact_log_z().unwrap()) / z.se;
                assert!(off.abs() < 5.0, "{kind}: {z}, {off} bars off");
            }
        }
    }
}

#[test]
fn the_start_has_the_means_of_the_data() {
    for kind in DISCRETE {
        let data = sample(&machine(kind, 1.0, false), 5_000, 2);
        let rbm = started(kind, &data, &RbmShape { hidden: 2, scale: 0.0, ..Default::default() }).unwrap();
        // up to the one observation that is spread over the states
        assert!(max(&(rbm.exact().unwrap().v - data.mean_dim(0, false, Kind::Double))) < 1e-3, "{kind}");
    }
}

#[test]
fn columns_of_any_scale_have_their_own_variance() {
    let mut rng = Rng::new(1);
    let mut draw = || rng.normal(&[2_000, 1], Kind::Double, Device::Cpu);
    let data = Tensor::cat(&[draw() * 1e5 + 2e5, draw() * 0.1 + 0.5], 1);
    let variance = data.var_dim(0, false, false);
    let independent = (&variance * (2.0 * std::f64::consts::PI * std::f64::consts::E)).log() * -0.5;
    let exact = independent.sum(Kind::Double).double_value(&[]);
    assert!((exact + 12.05).abs() < 0.05, "{exact}");
    let shape = RbmShape { hidden: 1, scale: 0.0, ..Default::default() };
    for (kind, tolerance) in [(Kind::Double, 1e-8), (Kind::Float, 1e-3)] {
        let data = data.to_kind(kind);
        let rbm = Rbm::gaussian(&data, &shape).unwrap();
        let got = rbm.exact_log_likelihood(&data).unwrap();
        assert!((got - exact).abs() < tolerance, "{got}, independent normals {exact}");
        // columns that do not vary change nothing in the others, and are narrow beside them
        let still =
            Tensor::cat(&[&data, &(data.narrow(1, 0, 1).zeros_like()), &(data.narrow(1, 0, 1).full_like(3e7))], 1);
        let sigma = |rbm: &Rbm| (rbm.units().visible.parameter().unwrap().1 * 0.5).exp().to_kind(Kind::Double);
        let s = sigma(&Rbm::gaussian(&still, &shape).unwrap());
        assert!(max(&(s.narrow(0, 0, 2) / sigma(&rbm) - 1.0)) < 1e-6);
        assert!(
            (s.double_value(&[2]) / 1e-3 - 1.0).abs() < 0.1 && (s.double_value(&[3]) / 3e5 - 1.0).abs() < 1e-3,
            "{s}"
        );
    }
}

#[test]
fn exact_log_z_is_enumerated_as_often_as_it_pays() {
    let rbm = |dv: i64, dh| {
        let data = Rng::new(1).uniform_tensor(&[50, dv], Kind::Float, Device::Cpu).round();
        (Rbm::bernoulli(&data, &RbmShape { hidden: dh, ..Default::default() }).unwrap(), data)
    };
    for (dv, dh, states) in [(20, 10, 1 << 10), (9, 14, 1 << 9)] {
        assert_eq!(rbm(dv, dh).0.log_z_exact_cost(), states);
    }
    assert_eq!(machine("potts", 1.0, false).log_z_exact_cost(), 8);
    assert_eq!(Rbm::from_units(&units("gaussian", 1.0), false).unwrap().log_z_exact_cost(), 8);
    // 2^12 states against 40 walkers per update
    let (mut rbm, data) = rbm(12, 12);
    let trainer = Trainer::new(Gibbs::new(), Method::Jarzynski { ess_min: 0.5 }).walkers(20).steps(60).quiet();
    let exact = trainer.train(&mut rbm, &data).unwrap().column("log_z_exact").unwrap();
    let known = exact.iter().filter(|z| z.is_finite()).count();
    assert!((2..=20).contains(&known), "{known} of {} rows", exact.len());
    assert!(exact[0].is_finite() && exact[60].is_finite());
}

// ---- files and refusals

#[test]
fn files_hold_the_kind_of_the_visible_units() {
    let dir = std::env::temp_dir().join(format!("two-layers-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for kind in KINDS {
        let (rbm, path) = (machine(kind, 1.0, false), dir.join(format!("{kind}.safetensors")));
        rbm.save(&path).unwrap();
        let x = sample(&rbm, 20, 1);
        let mut other = Rbm::from_units(&units(kind, 0.1), false).unwrap();
        assert!(max(&(other.evaluate(&x).u - rbm.evaluate(&x).u)) > 1e-2);
        other.load(&path).unwrap();
        assert!(max(&(other.evaluate(&x).u - rbm.evaluate(&x).u)) == 0.0, "{kind}");
        let file = dir.join(format!("{kind}.units"));
        rbm.units().write(&file).unwrap();
        let read = Units::read(&file).unwrap();
        assert_eq!((read.visible.name(), read.visible.levels()), (kind, rbm.units().visible.levels()));
        assert!(max(&(read.evaluate(&x).u - rbm.evaluate(&x).u)) == 0.0, "{kind}");
    }
    // the same shapes under another kind, or another q, are not taken
    let mut spins = machine("ising", 1.0, false);
    let text = spins.load(&dir.join("bernoulli.safetensors")).unwrap_err().to_string();
    assert!(text.contains("ising"), "{text}");
    let p = units("potts", 1.0);
    let mut pairs = Rbm::from_units(&Units::potts(&p.w, &p.b, &p.c, 2).unwrap(), false).unwrap();
    let text = pairs.load(&dir.join("potts.safetensors")).unwrap_err().to_string();
    assert!(text.contains("potts"), "{text}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn rows_outside_the_support_or_of_another_shape_are_refused_by_name_and_kinds_are_converted() {
    for kind in KINDS {
        let wide = machine(kind, 0.5, false);
        let p = wide.units();
        let narrow = |t: &Tensor| t.to_kind(Kind::Float);
        let u = match kind {
            "bernoulli" => Units::bernoulli(&narrow(&p.w), &narrow(&p.b), &narrow(&p.c)),
            "gaussian" => {
                let sigma = Tensor::from_slice(&[0.5f32, 1.5]);
                Units::gaussian(&narrow(&p.w), &narrow(&p.b), &narrow(&p.c), &sigma)
            }
            "ising" => Units::ising(&narrow(&p.w), &narrow(&p.b), &narrow(&p.c)),
            _ => Units::potts(&narrow(&p.w), &narrow(&p.b), &narrow(&p.c), Q),
        };
        let rbm = Rbm::from_units(&u.unwrap(), false).unwrap();
        let v = sample(&wide, 30, 1);
        let h = Tensor::ones([30, 3], (Kind::Double, Device::Cpu));
        let ais = Ais::new().steps(3).walkers(5).quiet();
        // each public function that takes rows, with what it gives for the wide machine
        type Take = fn(&Rbm, &Tensor, &Tensor, &Ais) -> jarzynski::Result<f64>;
        let all: [(&str, bool, Take); 9] = [
            ("log_likelihood", true, |m, v, _, _| Ok(m.log_likelihood(v, 1.0)?.sum(Kind::Double).double_value(&[]))),
            ("log_prob", true, |m, v, _, _| Ok(log_prob(m, v, 1.0)?.sum(Kind::Double).double_value(&[]))),
            ("exact_log_likelihood", true, |m, v, _, _| m.exact_log_likelihood(v)),
            ("exact_gradient", true, |m, v, _, _| Ok(m.exact_gradient(v)?[0].sum(Kind::Double).double_value(&[]))),
            ("pseudo_likelihood", true, |m, v, _, _| m.pseudo_likelihood(v, &mut Rng::new(1))),
            ("Ais::log_likelihood", true, |m, v, _, ais| ais.log_likelihood(m, v).map(|_| 0.0)),
            ("hidden_means", false, |m, v, _, _| Ok(m.hidden_means(v)?.sum(Kind::Double).double_value(&[]))),
            ("reconstruct", false, |m, v, _, _| Ok(m.reconstruct(v)?.sum(Kind::Double).double_value(&[]))),
            ("visible_means", false, |m, _, h, _| Ok(m.visible_means(h)?.sum(Kind::Double).double_value(&[]))),
        ];
        for (name, support, take) in all {
            if name == "pseudo_likelihood" && kind == "gaussian" {
                let text = take(&rbm, &v, &h, &ais).unwrap_err().to_string();
                assert!(text.contains("gaussian") && text.contains("discrete"), "{text}");
                continue;
            }
            let (a, b) = (take(&rbm, &v, &h, &ais).unwrap(), take(&wide, &v, &h, &ais).unwrap());
            assert!((a - b).abs() < 1e-3 * (1.0 + b.abs()), "{kind}, {name}: f64 rows give {a}, {b} in f64");
            let text = take(&rbm, &v.narrow(1, 0, 1), &h.narrow(1, 0, 1), &ais).unwrap_err().to_string();
            assert!(text.contains("has shape [30, 1]"), "{kind}, {name}: {text}");
            let nan = (&v * f64::NAN, &h * f64::NAN);
            let text = take(&rbm, &nan.0, &nan.1, &ais).unwrap_err().to_string();
            assert!(text.contains("not finite"), "{kind}, {name}: {text}");
            if support && kind != "gaussian" {
                let text = take(&rbm, &(&v * 0.5 + 0.3), &h, &ais).unwrap_err().to_string();
                assert!(
                    text.contains("at row 0, column") && (text.contains("visible units") || text.contains("Potts")),
                    "{kind}, {name}: {text}"
                );
            }
        }
    }
    // Potts: two ones, or none, in one unit
    for bad in [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]] {
        let text = Rbm::potts(&Tensor::from_slice(&bad).view([1, 3]), Q, &RbmShape::default()).unwrap_err().to_string();
        assert!(text.contains("row 0, column 0") && text.contains("one 1 and 2 zeros"), "{text}");
    }
    let states = Tensor::from_slice(&[0.0, 3.0]).view([1, 2]);
    assert!(one_hot(&states, Q).unwrap_err().to_string().contains("3 at row 0, column 1"));
    assert!(one_hot(&states, 1).unwrap_err().to_string().contains("q = 1"));
    assert!(
        Rbm::potts(&one_hot(&states, 4).unwrap(), 3, &RbmShape::default()).unwrap_err().to_string().contains("q = 3")
    );
    let zero = Tensor::from_slice(&[1.0, 0.0]).view([1, 2]);
    assert!(Rbm::ising(&zero, &RbmShape::default()).unwrap_err().to_string().contains("0 at row 0, column 1"));
}

#[test]
fn the_pseudo_likelihood_of_every_discrete_kind_is_the_sum_over_its_units() {
    for kind in DISCRETE {
        let rbm = machine(kind, 1.0, false);
        let v = sample(&rbm, 40, 5);
        let (width, each) = if kind == "potts" { (Q as usize, 2) } else { (1, 4) };
        let f = |v: &[f64]| rbm.evaluate(&tensor(&[v.to_vec()])).u.double_value(&[0]);
        let states = visible_states(kind);
        let exact: Vec<f64> = rows(&v)
            .iter()
            .map(|v| {
                let of_unit = |j: usize| {
                    let apart = |s: &&Vec<f64>| (0..v.len()).all(|i| i / width == j || s[i] == v[i]);
                    -f(v) - log_sum(states.iter().filter(apart).map(|s| -f(s)))
                };
                (0..each).map(of_unit).sum()
            })
            .collect();
        let exact = exact.iter().sum::<f64>() / 40.0;
        let got: Vec<f64> = (0..300).map(|s| rbm.pseudo_likelihood(&v, &mut Rng::new(s)).unwrap()).collect();
        let (mean, se) = frame::mean_se(&got);
        assert!(((mean - exact) / se).abs() < 5.0, "{kind}: {mean} ± {se}, exact {exact}");
    }
}
