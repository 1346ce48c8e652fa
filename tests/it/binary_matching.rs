//! Check trainings on one-bit neighbours by enumeration: losses, gradients, minima at the truth, what is recovered.

use crate::common::{FAR, worst, z_of};
use crate::without_sampling::{H, first, gradient, gradient_error, parameters, sandwich, scores};
use jarzynski::model::{Gaussian, Mlp, MlpShape, Rbm, RbmShape, Units};
use jarzynski::tch::{Device, Kind, Tensor, nn, no_grad};
use jarzynski::train::{BinaryMatching, BinaryObjective, DataNoise};
use jarzynski::{Base, Energy, Evaluation, Model, Optim, Result, Rng, Run, Schedule};

/// U = −b·x − Σ_{i<j} J_ij x_i x_j on {0, 1}^d: a model of one's own, all of whose units are visible.
#[derive(Debug)]
struct Boltzmann {
    vs: nn::VarStore,
    b: Tensor,
    j: Tensor,
}

/// Units of the tests' Boltzmann machine.
const D: usize = 5;
/// Pairs of them.
const PAIRS: usize = D * (D - 1) / 2;

impl Boltzmann {
    /// θ = (b, J_01, J_02, …).
    fn new(theta: &[f64]) -> Self {
        let mut vs = nn::VarStore::new(Device::Cpu);
        let var = |name: &str, n: usize| vs.root().var(name, &[n as i64], nn::Init::Const(0.0));
        let (mut b, mut j) = (var("b", D), var("j", PAIRS));
        vs.double();
        no_grad(|| {
            b.copy_(&Tensor::from_slice(&theta[..D]));
            j.copy_(&Tensor::from_slice(&theta[D..]));
        });
        Boltzmann { vs, b, j }
    }
}

impl Energy for Boltzmann {
    fn energy(&self, x: &Tensor) -> Tensor {
        let pairs: Vec<Tensor> =
            (0..D as i64).flat_map(|i| (i + 1..D as i64).map(move |j| x.select(1, i) * x.select(1, j))).collect();
        -x.mv(&self.b) - Tensor::stack(&pairs, 1).mv(&self.j)
    }
}

impl Model for Boltzmann {
    fn vars(&self) -> &nn::VarStore {
        &self.vs
    }
    fn vars_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }
    fn base(&self) -> Result<Box<dyn Base>> {
        Ok(Box::new(Gaussian::isotropic(D as i64, 1.0, Kind::Double, Device::Cpu)?))
    }
    fn dim(&self) -> i64 {
        D as i64
    }
    fn is_binary(&self) -> bool {
        true
    }
}

/// A machine without its closed form of the differences.
#[derive(Debug)]
struct ByEnergy(Rbm);

impl Energy for ByEnergy {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.0.energy(x)
    }
}

impl Model for ByEnergy {
    fn vars(&self) -> &nn::VarStore {
        self.0.vars()
    }
    fn vars_mut(&mut self) -> &mut nn::VarStore {
        self.0.vars_mut()
    }
    fn base(&self) -> Result<Box<dyn Base>> {
        self.0.base()
    }
    fn dim(&self) -> i64 {
        self.0.dim()
    }
    fn is_binary(&self) -> bool {
        true
    }
    fn param_grad(&self, at: &mut Evaluation, w: &Tensor) -> Vec<Tensor> {
        self.0.param_grad(at, w)
    }
    fn evaluate_data(&self, x: &Tensor) -> Evaluation {
        self.0.evaluate_data(x)
    }
}

/// Visible and hidden units of the tests' restricted machine.
const V: usize = 6;
const HIDDEN: usize = 4;

/// W, b and c as one list.
fn rbm_parameters(scale: f64) -> Vec<f64> {
    let w = Rng::new(11).normal(&[(V * HIDDEN) as i64], Kind::Double, Device::Cpu) * scale;
    let b = Rng::new(12).normal(&[(V + HIDDEN) as i64], Kind::Double, Device::Cpu) * 0.5;
    Vec::try_from(Tensor::cat(&[w, b], 0)).unwrap()
}

fn rbm(theta: &[f64]) -> Rbm {
    let part = |from: usize, n: usize| Tensor::from_slice(&theta[from..from + n]);
    let w = part(0, V * HIDDEN).view([V as i64, HIDDEN as i64]);
    let (b, c) = (part(V * HIDDEN, V), part(V * HIDDEN + V, HIDDEN));
    Rbm::from_units(&Units::bernoulli(&w, &b, &c).unwrap(), false).unwrap()
}

// The same in plain numbers: x is the number whose bits are the units.

fn bit(x: usize, i: usize) -> f64 {
    (x >> i & 1) as f64
}

/// e^{−F} of a machine, by all states of its hidden units.
fn rbm_weight(x: usize, theta: &[f64]) -> f64 {
    let mut total = 0.0;
    for h in 0..1 << HIDDEN {
        let mut u = 0.0;
        for i in 0..V {
            u -= theta[V * HIDDEN + i] * bit(x, i);
            u -= (0..HIDDEN).map(|j| theta[i * HIDDEN + j] * bit(x, i) * bit(h, j)).sum::<f64>();
        }
        u -= (0..HIDDEN).map(|j| theta[V * HIDDEN + V + j] * bit(h, j)).sum::<f64>();
        total += (-u).exp();
    }
    total
}

fn boltzmann_weight(x: usize, theta: &[f64]) -> f64 {
    let (mut u, mut pair) = (0.0, D);
    for i in 0..D {
        u -= theta[i] * bit(x, i);
        for j in i + 1..D {
            u -= theta[pair] * bit(x, i) * bit(x, j);
            pair += 1;
        }
    }
    (-u).exp()
}

type Weight = fn(usize, &[f64]) -> f64;

/// The term of a state in the loss, by its probability among those of its neighbours.
fn term(objective: BinaryObjective, d: usize, weight: Weight, x: usize, theta: &[f64]) -> f64 {
    let own = weight(x, theta);
    let each = |j: usize| {
        let other = weight(x ^ (1 << j), theta);
        let p = own / (own + other);
        match objective {
            BinaryObjective::PseudoLikelihood => -p.ln(),
            BinaryObjective::RatioMatching => (1.0 - p).powi(2),
            _ => (other / own).sqrt(),
        }
    };
    (0..d).map(each).sum()
}

fn probabilities(d: usize, weight: Weight, theta: &[f64]) -> Vec<f64> {
    let all: Vec<f64> = (0..1 << d).map(|x| weight(x, theta)).collect();
    let z: f64 = all.iter().sum();
    all.iter().map(|w| w / z).collect()
}

/// Draws as states, and as rows of bits.
fn draws(d: usize, weight: Weight, theta: &[f64], n: usize, seed: u64) -> (Vec<usize>, Tensor) {
    let p = probabilities(d, weight, theta);
    let pick = |u: f64| {
        let mut cumulated = 0.0;
        p.iter().position(|p| {
            cumulated += p;
            u < cumulated
        })
    };
    let states: Vec<usize> = Rng::new(seed).uniforms(n).into_iter().map(|u| pick(u).unwrap_or((1 << d) - 1)).collect();
    let rows = rows(d, &states);
    (states, rows)
}

fn rows(d: usize, states: &[usize]) -> Tensor {
    let bits: Vec<f64> = states.iter().flat_map(|x| (0..d).map(|i| bit(*x, i))).collect();
    Tensor::from_slice(&bits).view([states.len() as i64, d as i64])
}

const ALL: [BinaryObjective; 3] =
    [BinaryObjective::PseudoLikelihood, BinaryObjective::RatioMatching, BinaryObjective::ProbabilityFlow];

fn column(objective: BinaryObjective) -> &'static str {
    match objective {
        BinaryObjective::PseudoLikelihood => "loss_pseudo_likelihood",
        BinaryObjective::RatioMatching => "loss_ratio",
        _ => "loss_probability_flow",
    }
}

/// Plain descent by steps of length 1.
fn probe<M: Model>(objective: BinaryObjective, model: &mut M, x: &Tensor, steps: usize) -> Run {
    let matching = BinaryMatching::new(objective).optim(Optim::Sgd { momentum: 0.0 }).lr(1.0).steps(steps);
    matching.quiet().train(model, x).unwrap()
}

fn boltzmann_parameters() -> Vec<f64> {
    Vec::try_from(Rng::new(13).normal(&[(D + PAIRS) as i64], Kind::Double, Device::Cpu) * 0.7).unwrap()
}

#[test]
fn losses_are_those_of_enumerated_probabilities() {
    let (theta, own) = (rbm_parameters(1.0), boltzmann_parameters());
    let (states, x) = draws(V, rbm_weight, &theta, 40, 1);
    let (few, y) = draws(D, boltzmann_weight, &own, 40, 2);
    for objective in ALL {
        let mean = |d, weight: Weight, states: &[usize], theta: &[f64]| {
            states.iter().map(|s| term(objective, d, weight, *s, theta)).sum::<f64>() / states.len() as f64
        };
        let exact = mean(V, rbm_weight, &states, &theta);
        let found = [
            first(&probe(objective, &mut rbm(&theta), &x, 0), column(objective)),
            first(&probe(objective, &mut ByEnergy(rbm(&theta)), &x, 0), column(objective)),
        ];
        assert!(found.iter().all(|f| (f - exact).abs() < 1e-10), "{objective:?}: {found:?}, exact {exact}");
        let exact = mean(D, boltzmann_weight, &few, &own);
        let found = first(&probe(objective, &mut Boltzmann::new(&own), &y, 0), column(objective));
        assert!((found - exact).abs() < 1e-10, "{objective:?}: {found}, exact {exact}");
        // the twin: one parameter is another
        let mut other = own.clone();
        other[D] += 0.01;
        assert!((found - mean(D, boltzmann_weight, &few, &other)).abs() > 1e-6);
    }
}

#[test]
fn gradients_are_differences_of_the_loss_in_closed_form_and_by_energies() {
    let theta = rbm_parameters(1.0);
    let (_, x) = draws(V, rbm_weight, &theta, 20, 3);
    let (_, y) = draws(D, boltzmann_weight, &boltzmann_parameters(), 20, 4);
    for objective in ALL {
        let of = |model: &mut Rbm, steps: usize| probe(objective, model, &x, steps);
        let off = gradient_error(&mut rbm(&theta), column(objective), of);
        assert!(off < 1e-8, "{objective:?} of a machine: {off}");
        let of = |model: &mut Boltzmann, steps: usize| probe(objective, model, &y, steps);
        let off = gradient_error(&mut Boltzmann::new(&boltzmann_parameters()), column(objective), of);
        assert!(off < 1e-8, "{objective:?} of a model of one's own: {off}");
        let closed = gradient(&mut rbm(&theta), |model, steps| probe(objective, model, &x, steps));
        let plain = gradient(&mut ByEnergy(rbm(&theta)), |model, steps| probe(objective, model, &x, steps));
        let off = closed.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-12, "{objective:?}: {off}");
    }
}

/// The largest entry of the gradient averaged with the probabilities of `truth`, at the parameters `at`.
fn population_gradient(objective: BinaryObjective, truth: &[f64], at: &[f64]) -> f64 {
    let mut total = vec![0.0; at.len()];
    for (x, p) in probabilities(V, rbm_weight, truth).into_iter().enumerate() {
        let one = rows(V, &[x]);
        let grad = gradient(&mut rbm(at), |model, steps| probe(objective, model, &one, steps));
        total.iter_mut().zip(grad).for_each(|(t, g)| *t += p * g);
    }
    worst(&total)
}

#[test]
fn the_gradient_vanishes_at_the_truth() {
    let truth = rbm_parameters(1.0);
    let mut other = truth.clone();
    other[0] += 0.1;
    for objective in ALL {
        let at = population_gradient(objective, &truth, &truth);
        assert!(at < 1e-10, "{objective:?}: {at}");
        let off = population_gradient(objective, &truth, &other);
        assert!(off > 1e-4, "{objective:?}, the twin: {off}");
    }
}

fn settled<M: Model>(objective: BinaryObjective, model: &mut M, x: &Tensor) -> Vec<f64> {
    let matching = BinaryMatching::new(objective).steps(1_500).lr(0.02).every(500);
    assert!(matching.schedule(Schedule::Cosine { end: 0.0 }).quiet().train(model, x).unwrap().finished());
    parameters(model)
}

/// How often each state was drawn.
fn counts(d: usize, states: &[usize]) -> Vec<(usize, f64)> {
    (0..1 << d).map(|x| (x, states.iter().filter(|s| **s == x).count() as f64)).filter(|(_, n)| *n > 0.0).collect()
}

#[test]
fn parameters_are_recovered_within_their_errors() {
    let truth = boltzmann_parameters();
    let (states, x) = draws(D, boltzmann_weight, &truth, 3_000, 5);
    for objective in ALL {
        let found = settled(objective, &mut Boltzmann::new(&[0.0; D + PAIRS]), &x);
        let loss = |x: &usize, theta: &[f64]| term(objective, D, boltzmann_weight, *x, theta);
        let covariance = sandwich(&[&counts(D, &states)], &found, loss);
        let z = scores(&found, &truth, &covariance);
        assert!(worst(&z) < FAR, "{objective:?}: {z:?}");
        // the twin: couplings of the other sign
        let wrong: Vec<f64> = truth.iter().enumerate().map(|(i, t)| if i < D { *t } else { -t }).collect();
        assert!(worst(&scores(&found, &wrong, &covariance)) > FAR);
    }
}

#[test]
fn a_restricted_machine_is_recovered_within_its_errors() {
    let truth = rbm_parameters(1.5);
    let n = 4_000;
    let (states, x) = draws(V, rbm_weight, &truth, n, 6);
    for objective in [BinaryObjective::PseudoLikelihood, BinaryObjective::ProbabilityFlow] {
        // from the truth: hidden units may be exchanged
        let found = settled(objective, &mut rbm(&truth), &x);
        let loss = |x: &usize, theta: &[f64]| term(objective, V, rbm_weight, *x, theta);
        let covariance = sandwich(&[&counts(V, &states)], &found, loss);
        let z = scores(&found, &truth, &covariance);
        assert!(worst(&z) < FAR, "{objective:?}: {z:?}");
        // what is known best: the distribution, by the derivatives of the probabilities
        let at = |theta: &[f64]| Tensor::from_slice(&probabilities(V, rbm_weight, theta));
        let slope = |i: usize| {
            let moved = |by: f64| {
                let mut theta = found.clone();
                theta[i] += by;
                at(&theta)
            };
            (moved(H) - moved(-H)) / (2.0 * H)
        };
        let slopes = Tensor::stack(&(0..found.len()).map(slope).collect::<Vec<_>>(), 1);
        let covariance = slopes.matmul(&covariance).matmul(&slopes.tr());
        let list = |t: Tensor| Vec::<f64>::try_from(t).unwrap();
        let z = scores(&list(at(&found)), &list(at(&truth)), &covariance);
        assert!(worst(&z) < FAR, "{objective:?}: {z:?}");
        // the twin: one bias is .8 another
        let mut other = truth.clone();
        other[V * HIDDEN] += 0.8;
        let z = scores(&list(at(&found)), &list(at(&other)), &covariance);
        assert!(worst(&z) > FAR, "{objective:?}: {z:?}");
    }
}

#[test]
fn some_bits_estimate_all_of_them() {
    let theta = rbm_parameters(1.0);
    let (_, x) = draws(V, rbm_weight, &theta, 30, 7);
    let objective = BinaryObjective::PseudoLikelihood;
    let exact = first(&probe(objective, &mut rbm(&theta), &x, 0), column(objective));
    let of = |seed: u64, units: usize| {
        let matching = BinaryMatching::new(objective).units(units).steps(0).seed(seed).quiet();
        first(&matching.train(&mut rbm(&theta), &x).unwrap(), column(objective))
    };
    let some: Vec<f64> = (0..300).map(|seed| of(seed, 2)).collect();
    assert!(z_of(&some, exact).abs() < FAR, "{}", z_of(&some, exact));
    assert!(z_of(&some, exact * 1.1).abs() > FAR, "the twin");
    assert!((of(0, V) - exact).abs() < 1e-12);
}

#[test]
fn what_does_not_apply_is_refused_by_name() {
    let theta = rbm_parameters(1.0);
    let (_, x) = draws(V, rbm_weight, &theta, 10, 8);
    let refused = |matching: BinaryMatching| matching.train(&mut rbm(&theta), &x).unwrap_err().to_string();
    let start = BinaryMatching::probability_flow;
    for (matching, said) in [
        (start().units(0), "units = 0"),
        (start().units(7), "units = 7: expected at most the 6 bits"),
        (start().batch(0), "batch = 0"),
        (start().data_noise(0.1), "data_noise = Gaussian(0.1)"),
        (start().steps(10).every(11), "every = 11: expected at most 10 steps"),
        (start().optim(Optim::natural()), "optim = natural"),
    ] {
        let text = refused(matching);
        assert!(text.starts_with(said), "{text}");
    }
    let e = start().train(&mut rbm(&theta), &(&x * 0.5)).unwrap_err().to_string();
    assert!(e.contains("0 or 1"), "{e}");
    let mut net = Mlp::new(6, &MlpShape::default(), Kind::Double, Device::Cpu).unwrap();
    let e = start().train(&mut net, &x).unwrap_err().to_string();
    assert!(e.starts_with("model = Mlp: expected a model of zeros and ones"), "{e}");
    // probabilities of bits are data too
    let mut machine = Rbm::bernoulli(&x, &RbmShape { hidden: 3, ..Default::default() }).unwrap();
    let run = start().data_noise(DataNoise::Bits).steps(3).quiet().train(&mut machine, &(&x * 0.5)).unwrap();
    assert!(run.finished());
}
