//! Check trainings that draw nothing from the model: losses and gradients in closed form, what they recover, what they miss.

use crate::common::{FAR, worst, z_of};
use jarzynski::density::DataMixture;
use jarzynski::model::{Gaussian, Mixture, Mlp, MlpShape};
use jarzynski::tch::{Device, Kind, Tensor, nn, no_grad};
use jarzynski::train::{NoiseContrastive, ScoreMatching};
use jarzynski::{Base, Differentiable, Energy, Model, Optim, Result, Rng, Run, Schedule};

pub const WIDE: (Kind, Device) = (Kind::Double, Device::Cpu);
/// Step of central differences in f64.
pub const H: f64 = 1e-5;

/// U = ½|(x − m)A|²: a Gaussian of precision AAᵀ whose scale is free too.
#[derive(Debug)]
struct Normal {
    vs: nn::VarStore,
    mean: Tensor,
    a: Tensor,
}

impl Normal {
    fn new(mean: &[f64], a: &[f64]) -> Self {
        let (mut vs, d) = (nn::VarStore::new(Device::Cpu), mean.len() as i64);
        let var = |name: &str, size: &[i64]| vs.root().var(name, size, nn::Init::Const(0.0));
        let (mut m, mut own) = (var("mean", &[d]), var("a", &[d, d]));
        vs.double();
        no_grad(|| {
            m.copy_(&Tensor::from_slice(mean));
            own.copy_(&Tensor::from_slice(a).view([d, d]));
        });
        Normal { vs, mean: m, a: own }
    }

    fn precision(&self) -> Tensor {
        no_grad(|| self.a.matmul(&self.a.tr()))
    }
}

impl Differentiable for Normal {}

impl Energy for Normal {
    fn energy(&self, x: &Tensor) -> Tensor {
        (x - &self.mean).matmul(&self.a).square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5
    }
}

impl Model for Normal {
    fn vars(&self) -> &nn::VarStore {
        &self.vs
    }
    fn vars_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }
    fn base(&self) -> Result<Box<dyn Base>> {
        Ok(Box::new(Gaussian::isotropic(self.dim(), 1.0, Kind::Double, Device::Cpu)?))
    }
    fn dim(&self) -> i64 {
        self.mean.size()[0]
    }
}

/// Parameters as one list of numbers.
pub fn parameters<M: Model>(model: &M) -> Vec<f64> {
    let flat = |t: &Tensor| Vec::<f64>::try_from(t.detach().to_kind(Kind::Double).view(-1)).unwrap();
    model.vars().trainable_variables().iter().flat_map(flat).collect()
}

/// The `i`th number among the parameters moved by `by`.
fn nudge<M: Model>(model: &M, mut i: usize, by: f64) {
    no_grad(|| {
        for p in model.vars().trainable_variables() {
            if i < p.numel() {
                let _ = p.view(-1).get(i as i64).g_add_scalar_(by);
                return;
            }
            i -= p.numel();
        }
    });
}

/// Random parameters in place of those of a net, whose last layer is zero.
fn stirred<M: Model>(model: M, size: f64) -> M {
    let mut rng = Rng::new(8);
    no_grad(|| {
        for mut p in model.vars().trainable_variables() {
            p.copy_(&(rng.normal(&p.size(), p.kind(), Device::Cpu) * size));
        }
    });
    model
}

pub fn first(run: &Run, column: &str) -> f64 {
    run.column(column).unwrap()[0]
}

/// The gradient of a loss at the parameters of `model`, by one step of gradient descent of length 1, against differences of the
/// loss, both relative to the gradient's size. `run(model, steps)` trains it.
pub fn gradient_error<M: Model>(model: &mut M, column: &str, run: impl Fn(&mut M, usize) -> Run) -> f64 {
    let grad = gradient(model, &run);
    let mut slope = |i: usize| {
        let mut at = |by: f64| {
            nudge(model, i, by);
            let loss = first(&run(model, 0), column);
            nudge(model, i, -by);
            loss
        };
        (at(H) - at(-H)) / (2.0 * H)
    };
    let size = grad.iter().fold(0.0f64, |a, g| a.max(g.abs()));
    grad.iter().enumerate().map(|(i, g)| (g - slope(i)).abs() / size).fold(0.0, f64::max)
}

/// The gradient, leaving the parameters as they were.
pub fn gradient<M: Model>(model: &mut M, run: impl Fn(&mut M, usize) -> Run) -> Vec<f64> {
    let before = parameters(model);
    assert!(run(model, 1).finished());
    let grad: Vec<f64> = before.iter().zip(parameters(model)).map(|(a, b)| a - b).collect();
    grad.iter().enumerate().for_each(|(i, g)| nudge(model, i, *g));
    grad
}

/// Plain descent by one step of length 1, in which a gradient can be read off.
fn probe(matching: ScoreMatching) -> ScoreMatching {
    matching.optim(Optim::Sgd { momentum: 0.0 }).lr(1.0).quiet()
}

fn objectives() -> [ScoreMatching; 5] {
    [
        ScoreMatching::denoising(0.4),
        ScoreMatching::exact(),
        ScoreMatching::hutchinson(2),
        ScoreMatching::sliced(3),
        ScoreMatching::exact().data_noise(0.3),
    ]
}

fn column(matching: &ScoreMatching) -> &'static str {
    if matches!(matching.objective, jarzynski::train::ScoreObjective::Denoising { .. }) {
        "loss_denoising"
    } else {
        "loss_fisher"
    }
}

fn net(d: i64) -> Mlp {
    let shape = MlpShape { widths: vec![7, 6], sigma: 1.5, seed: 3 };
    stirred(Mlp::new(d, &shape, Kind::Double, Device::Cpu).unwrap(), 0.5)
}

#[test]
fn the_exact_loss_is_that_of_closed_forms() {
    let x = Rng::new(1).normal(&[50, 3], Kind::Double, Device::Cpu) * 1.3;
    let loss = |model: &mut dyn FnMut() -> Run| first(&model(), "loss_fisher");
    let mut gaussian = Normal::new(&[0.3, -0.2, 0.5], &[1.1, 0.2, 0.0, -0.3, 0.8, 0.4, 0.1, 0.0, 1.4]);
    let precision = gaussian.precision();
    let slope = no_grad(|| (&x - &gaussian.mean).matmul(&precision));
    let square = slope.square().sum_dim_intlist(-1, false, Kind::Double).mean(Kind::Double).double_value(&[]) * 0.5;
    let trace = precision.trace().double_value(&[]);
    let found = loss(&mut || ScoreMatching::exact().steps(0).quiet().train(&mut gaussian, &x).unwrap());
    assert!((found - (square - trace)).abs() < 1e-10, "{found}, exact {}", square - trace);
    // twins: the trace with another factor, or left out
    assert!([0.0, 0.5, -1.0].iter().all(|f| (found - (square - f * trace)).abs() > 0.1));

    let (means, sigma) = ([[-1.0, 0.2, 0.0], [1.0, -0.5, 0.4]], [0.7, 1.2]);
    let rows: Vec<Vec<f64>> = means.iter().map(|m| m.to_vec()).collect();
    let mut mixture = Mixture::with_sigma(&rows, &[0.3, 0.7], &sigma, Kind::Double, Device::Cpu).unwrap();
    let g = mixture.responsibilities(&x).unwrap();
    let away: Vec<Tensor> = (0..2).map(|j| (&x - Tensor::from_slice(&means[j])) / sigma[j].powi(2)).collect();
    let sum = |t: &Tensor| t.sum_dim_intlist(-1, false, Kind::Double);
    let part = |f: &dyn Fn(usize) -> Tensor| (0..2).map(|j| g.select(1, j as i64) * f(j)).sum::<Tensor>();
    let slope = (0..2).map(|j| g.narrow(1, j as i64, 1) * &away[j]).sum::<Tensor>();
    let laplacian = part(&|j| sum(&away[j].ones_like()) / sigma[j].powi(2)) - part(&|j| sum(&away[j].square()))
        + sum(&slope.square());
    let exact = (sum(&slope.square()) * 0.5 - laplacian).mean(Kind::Double).double_value(&[]);
    let found = loss(&mut || ScoreMatching::exact().steps(0).quiet().train(&mut mixture, &x).unwrap());
    assert!((found - exact).abs() < 1e-10, "{found}, exact {exact}");
}

#[test]
fn estimates_of_the_trace_are_unbiased_and_hutchinsons_has_less_variance() {
    let x = Rng::new(2).normal(&[40, 4], Kind::Double, Device::Cpu);
    let mut model = net(4);
    let exact = first(&ScoreMatching::exact().steps(0).quiet().train(&mut model, &x).unwrap(), "loss_fisher");
    let mut of = |matching: ScoreMatching| -> Vec<f64> {
        let run = |seed| matching.clone().steps(0).seed(seed).quiet();
        (0..200).map(|seed| first(&run(seed).train(&mut model, &x).unwrap(), "loss_fisher")).collect()
    };
    let (hutchinson, sliced) = (of(ScoreMatching::hutchinson(1)), of(ScoreMatching::sliced(1)));
    let many = of(ScoreMatching::hutchinson(4));
    let z = [z_of(&hutchinson, exact), z_of(&sliced, exact), z_of(&many, exact)];
    assert!(worst(&z) < FAR, "{z:?}");
    // twins: a loss that is off by a tenth of its size
    let off = [&hutchinson, &sliced, &many].map(|all| z_of(all, exact * 1.1));
    assert!(off.iter().all(|z| z.abs() > FAR), "{off:?}");
    let spread = |all: &Vec<f64>| {
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (all.len() as f64 - 1.0)
    };
    // a ratio of variances of 200 has a relative error of about √(4/200) = .14
    let (ratio, four) = (spread(&hutchinson) / spread(&sliced), spread(&hutchinson) / spread(&many));
    assert!(ratio < 0.5, "variance of Hutchinson's estimate over that of the sliced one: {ratio}");
    assert!((four - 4.0).abs() < 5.0 * 4.0 * 0.14, "four probes have a quarter of the variance: {four}");
}

#[test]
fn gradients_of_score_matching_are_differences_of_the_loss() {
    let x = Rng::new(3).normal(&[12, 2], Kind::Double, Device::Cpu);
    for matching in objectives() {
        let (name, what) = (column(&matching), matching.objective);
        let mut gaussian = Normal::new(&[0.3, -0.2], &[1.1, 0.2, -0.3, 0.8]);
        let run = |model: &mut Normal, steps| probe(matching.clone()).steps(steps).train(model, &x).unwrap();
        let off = gradient_error(&mut gaussian, name, run);
        assert!(off < 1e-8, "{what:?} of a Gaussian: {off}");
        let run = |model: &mut Mlp, steps| probe(matching.clone()).steps(steps).train(model, &x).unwrap();
        let off = gradient_error(&mut net(2), name, run);
        assert!(off < 1e-7, "{what:?} of a net: {off}");
    }
    // the twin: the gradient of another draw of the probes
    let run = |model: &mut Mlp, steps: usize| {
        probe(ScoreMatching::sliced(1)).seed(steps as u64).steps(steps).train(model, &x).unwrap()
    };
    assert!(gradient_error(&mut net(2), "loss_fisher", run) > 1e-2);
}

/// Trains until the gradient is nothing beside the errors that are tested.
fn settled(matching: ScoreMatching) -> ScoreMatching {
    matching.steps(1_500).lr(0.05).every(500).schedule(Schedule::Cosine { end: 0.0 }).quiet()
}

#[test]
fn the_minimiser_for_gaussians_is_the_datas_mean_and_covariance() {
    let n = 400;
    let x = Rng::new(4).normal(&[n, 2], Kind::Double, Device::Cpu);
    let x = x.matmul(&Tensor::from_slice(&[1.2, 0.5, 0.0, 0.6]).view([2, 2])) + Tensor::from_slice(&[0.4, -1.0]);
    let mut model = Normal::new(&[0.0, 0.0], &[1.0, 0.0, 0.0, 1.0]);
    assert!(settled(ScoreMatching::exact()).train(&mut model, &x).unwrap().finished());
    let mean = x.mean_dim(0, false, Kind::Double);
    let away = &x - &mean;
    let covariance = away.tr().matmul(&away) / n as f64;
    // score matching of Gaussians is maximum likelihood (Hyvärinen 2005, section 3.1)
    let off = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
    let identity = model.precision().matmul(&covariance);
    assert!(off(&model.mean.detach(), &mean) < 1e-6, "{:?}", off(&model.mean.detach(), &mean));
    assert!(off(&identity, &Tensor::eye(2, WIDE)) < 1e-6, "{:?}", off(&identity, &Tensor::eye(2, WIDE)));
    // the twin: noise that is not taken away
    assert!(settled(ScoreMatching::exact().data_noise(0.3)).train(&mut model, &x).unwrap().finished());
    assert!(off(&model.precision().matmul(&covariance), &Tensor::eye(2, WIDE)) > 1e-2);
}

// Mixtures in one dimension, in plain numbers.

const MEANS: [f64; 2] = [-1.5, 1.2];
const MASS: f64 = 0.35;

fn teacher() -> Mixture {
    Mixture::new(&[vec![MEANS[0]], vec![MEANS[1]]], &[MASS, 1.0 - MASS]).unwrap()
}

/// θ = (μ_0, μ_1, z_1) of the teacher, and its log Z.
fn truth() -> ([f64; 3], f64) {
    let t = teacher();
    let theta = parameters(&t);
    ([theta[0], theta[1], theta[2]], Base::log_z(&t))
}

/// U, U′ and U″ of the mixture with parameters (μ_0, μ_1, z_1).
fn plain(theta: &[f64], x: f64) -> [f64; 3] {
    let parts = [(-0.5 * (x - theta[0]).powi(2)).exp(), (-theta[2] - 0.5 * (x - theta[1]).powi(2)).exp()];
    let total = parts[0] + parts[1];
    let away = [x - theta[0], x - theta[1]];
    let mean = |f: [f64; 2]| (parts[0] * f[0] + parts[1] * f[1]) / total;
    let slope = mean(away);
    [-total.ln(), slope, 1.0 - mean([away[0].powi(2), away[1].powi(2)]) + slope.powi(2)]
}

/// The covariance of an estimate that minimises Σ loss(point, θ) over points that come so many times: H⁻¹ J H⁻¹ with the sum's Hessian H
/// and the sum J of the squares of the points' gradients, by differences. Each of the `kinds` of points has a mean gradient of its own.
pub fn sandwich<P>(kinds: &[&[(P, f64)]], theta: &[f64], loss: impl Fn(&P, &[f64]) -> f64) -> Tensor {
    let d = theta.len();
    let moved = |moves: &[(usize, f64)]| {
        let mut t = theta.to_vec();
        moves.iter().for_each(|(i, by)| t[*i] += by);
        t
    };
    let step = 1e-4;
    let points: Vec<&(P, f64)> = kinds.iter().flat_map(|all| all.iter()).collect();
    let total = |t: &[f64]| points.iter().map(|(p, times)| times * loss(p, t)).sum::<f64>();
    let mut hessian = vec![0.0; d * d];
    for i in 0..d {
        for j in 0..=i {
            let at = |a: f64, b: f64| total(&moved(&[(i, a * step), (j, b * step)]));
            let value = (at(1.0, 1.0) - at(1.0, -1.0) - at(-1.0, 1.0) + at(-1.0, -1.0)) / (4.0 * step * step);
            (hessian[i * d + j], hessian[j * d + i]) = (value, value);
        }
    }
    let mut noise = Tensor::zeros([d as i64, d as i64], WIDE);
    for points in kinds {
        let mut rows = vec![];
        for (p, _) in points.iter() {
            rows.extend((0..d).map(|i| (loss(p, &moved(&[(i, H)])) - loss(p, &moved(&[(i, -H)]))) / (2.0 * H)));
        }
        let rows = Tensor::from_slice(&rows).view([points.len() as i64, d as i64]);
        let times = Tensor::from_slice(&points.iter().map(|(_, times)| *times).collect::<Vec<_>>()).unsqueeze(-1);
        let mean = (&rows * &times).sum_dim_intlist(0, true, Kind::Double) / times.sum(Kind::Double);
        let away = rows - mean;
        noise += away.tr().matmul(&(&away * times));
    }
    let inverse = Tensor::from_slice(&hessian).view([d as i64, d as i64]).inverse();
    inverse.matmul(&noise).matmul(&inverse)
}

/// Each once.
fn once<P>(points: impl IntoIterator<Item = P>) -> Vec<(P, f64)> {
    points.into_iter().map(|p| (p, 1.0)).collect()
}

pub fn scores(found: &[f64], exact: &[f64], covariance: &Tensor) -> Vec<f64> {
    let se = |i: usize| covariance.double_value(&[i as i64, i as i64]).sqrt();
    found.iter().zip(exact).enumerate().map(|(i, (f, e))| (f - e) / se(i)).collect()
}

fn numbers(x: &Tensor) -> Vec<f64> {
    Vec::try_from(x.view(-1)).unwrap()
}

#[test]
fn score_matching_recovers_a_mixture_within_its_errors() {
    let (exact, _) = truth();
    let x = teacher().sample(4_000, &mut Rng::new(5));
    let mut model = Mixture::new(&[vec![-1.0], vec![1.0]], &[0.5, 0.5]).unwrap();
    assert!(settled(ScoreMatching::exact()).train(&mut model, &x).unwrap().finished());
    let found = parameters(&model);
    let loss = |x: &f64, theta: &[f64]| {
        let [_, slope, curvature] = plain(theta, *x);
        0.5 * slope * slope - curvature
    };
    let z = scores(&found, &exact, &sandwich(&[&once(numbers(&x))], &found, loss));
    assert!(worst(&z) < FAR, "{z:?}");
    // the twin: a mass that is .05 off
    let wrong = [exact[0], exact[1], ((MASS + 0.05) / (0.95 - MASS)).ln()];
    assert!(worst(&scores(&found, &wrong, &sandwich(&[&once(numbers(&x))], &found, loss))) > FAR);
}

/// Draws that are the same at every update: what is estimated is then one minimum, of which the variance is known.
#[derive(Debug)]
struct Kept {
    law: Gaussian,
    rows: Tensor,
}

impl Kept {
    fn new(law: Gaussian, n: usize, seed: u64) -> Self {
        Kept { rows: law.sample(n, &mut Rng::new(seed)), law }
    }
}

impl Energy for Kept {
    fn energy(&self, x: &Tensor) -> Tensor {
        self.law.energy(x)
    }
}

impl Base for Kept {
    fn sample(&self, n: usize, _: &mut Rng) -> Tensor {
        self.rows.narrow(0, 0, n as i64)
    }
    fn log_z(&self) -> f64 {
        self.law.log_z()
    }
}

const RATIO: f64 = 2.0;

/// log p_n at x for N(0, 2²).
fn log_noise(x: f64) -> f64 {
    -0.125 * x * x - (2.0 * (2.0 * std::f64::consts::PI).sqrt()).ln()
}

/// The term of a point of the data or of the noise in the loss with ν = e^{log ν}, at θ = (μ_0, μ_1, z_1, c).
fn contrast((x, data): (f64, bool), theta: &[f64], log_nu: f64) -> f64 {
    let g = -plain(theta, x)[0] - theta[3] - log_noise(x) - log_nu;
    let sign = if data { -1.0 } else { 1.0 };
    (sign * g).max(0.0) + (-g.abs()).exp().ln_1p()
}

#[test]
fn the_contrastive_loss_and_its_gradients_are_those_of_the_formula() {
    let x = teacher().sample(30, &mut Rng::new(6));
    let noise = Kept::new(Gaussian::new(&[0.0], &[2.0]).unwrap(), 64, 7);
    let theta = [-1.0, 0.8, 0.2, 1.3];
    let mut model = Mixture::new(&[vec![-1.0], vec![0.8]], &[1.0, (-0.2f64).exp()]).unwrap();
    let run = |model: &mut Mixture, steps: usize, c: f64| {
        let nce =
            NoiseContrastive::new().ratio(RATIO).log_z(c).steps(steps).optim(Optim::Sgd { momentum: 0.0 }).lr(1.0);
        nce.quiet().train(model, &x, &noise).unwrap()
    };
    let points = |log_nu: f64| {
        let part = |all: Vec<f64>, data| all.iter().map(|x| contrast((*x, data), &theta, log_nu)).sum::<f64>();
        // ν times the mean over ν n draws is their sum over n
        (part(numbers(&x), true) + part(numbers(&noise.rows.narrow(0, 0, 60)), false)) / 30.0
    };
    let found = first(&run(&mut model, 0, theta[3]), "loss_contrastive");
    assert!((found - points(RATIO.ln())).abs() < 1e-10, "{found}, exact {}", points(RATIO.ln()));
    assert!((found - points(0.0)).abs() > 1e-2, "the twin: without log ν");
    let off = gradient_error(&mut model, "loss_contrastive", |model, steps| run(model, steps, theta[3]));
    assert!(off < 1e-8, "{off}");
    // the same for c
    let one = run(&mut model, 1, theta[3]).column("log_z_learned").unwrap();
    let at = |c: f64| {
        let mut fresh = Mixture::new(&[vec![-1.0], vec![0.8]], &[1.0, (-0.2f64).exp()]).unwrap();
        first(&run(&mut fresh, 0, c), "loss_contrastive")
    };
    let slope = (at(theta[3] + H) - at(theta[3] - H)) / (2.0 * H);
    assert!((one[0] - one[1] - slope).abs() < 1e-8, "{one:?}, slope {slope}");
}

/// The covariance of n data points' estimate of (θ, c) by Gutmann and Hyvärinen 2012, theorem 3, at the truth: I⁻¹ − (1 + 1/ν) I⁻¹ mmᵀ I⁻¹
/// over n with I = E_*(P g gᵀ), m = E_*(P g), P = νp_n/(p_* + νp_n), g = ∂log p, by quadrature.
fn theorem(n: f64) -> Tensor {
    let (theta, log_z) = truth();
    let all = [theta[0], theta[1], theta[2], log_z];
    let (mut outer, mut mean) = (Tensor::zeros([4, 4], WIDE), Tensor::zeros([4], WIDE));
    let width = 0.01;
    for i in -1_200..=1_200 {
        let x = f64::from(i) * width;
        let log_p = |t: &[f64]| -plain(t, x)[0] - t[3];
        let g: Vec<f64> = (0..4)
            .map(|i| {
                let at = |by: f64| {
                    let mut t = all;
                    t[i] += by;
                    log_p(&t)
                };
                (at(H) - at(-H)) / (2.0 * H)
            })
            .collect();
        let (p, q) = (log_p(&all).exp(), RATIO * log_noise(x).exp());
        let (g, share) = (Tensor::from_slice(&g), width * p * q / (p + q));
        outer += g.outer(&g) * share;
        mean += g * share;
    }
    let inverse = outer.inverse();
    let shift = inverse.mv(&mean);
    (inverse - shift.outer(&shift) * (1.0 + 1.0 / RATIO)) / n
}

fn contrasted(x: &Tensor, noise: &Kept) -> (Vec<f64>, Mixture) {
    let mut model = Mixture::new(&[vec![-1.0], vec![1.0]], &[0.5, 0.5]).unwrap();
    let nce = NoiseContrastive::new().ratio(RATIO).steps(1_000).lr(0.05).every(500);
    let run = nce.schedule(Schedule::Cosine { end: 0.0 }).quiet().train(&mut model, x, noise).unwrap();
    assert!(run.finished());
    (parameters(&model).into_iter().chain(run.log_z_learned()).collect(), model)
}

#[test]
fn noise_contrast_recovers_a_mixture_and_log_z_within_the_known_variance() {
    let (theta, log_z) = truth();
    let exact = [theta[0], theta[1], theta[2], log_z];
    let (n, covariance) = (4_000, theorem(4_000.0));
    let noise = Kept::new(Gaussian::new(&[0.0], &[2.0]).unwrap(), 2 * n, 9);
    let x = teacher().sample(n, &mut Rng::new(8));
    let (found, model) = contrasted(&x, &noise);
    let z = scores(&found, &exact, &covariance);
    assert!(worst(&z) < FAR, "{z:?}");
    // the twin: without log ν in the log-odds, c would come out higher by it
    let forgotten = (found[3] + RATIO.ln() - log_z) / covariance.double_value(&[3, 3]).sqrt();
    assert!(forgotten.abs() > FAR, "{forgotten}");
    // c against log Z of the model that was learned, whose derivatives are those of log(1 + e^{−z})
    let share = -1.0 / (1.0 + found[2].exp());
    let weight = Tensor::from_slice(&[0.0, 0.0, -share, 1.0]);
    let se = weight.dot(&covariance.mv(&weight)).double_value(&[]).sqrt();
    let z = (found[3] - model.log_z_exact().unwrap()) / se;
    assert!(z.abs() < FAR, "{z}");
    // the points' own variance agrees with the theorem
    let tagged = |x: Vec<f64>, data| once(x.into_iter().map(|x| (x, data)));
    let points = (tagged(numbers(&x), true), tagged(numbers(&noise.rows), false));
    let own = sandwich(&[&points.0, &points.1], &found, |p, t| contrast(*p, t, RATIO.ln()));
    for i in 0..4 {
        let ratio = own.double_value(&[i, i]) / covariance.double_value(&[i, i]);
        assert!((ratio - 1.0).abs() < 0.3, "variance {i}: {ratio} times the theorem's");
    }
}

#[test]
fn the_error_of_log_z_is_that_of_the_theorem_over_replicates() {
    let (_, log_z) = truth();
    let (n, count) = (500, 40);
    let errors: Vec<f64> = (0..count)
        .map(|seed| {
            let noise = Kept::new(Gaussian::new(&[0.0], &[2.0]).unwrap(), 2 * n, 1_000 + seed);
            contrasted(&teacher().sample(n, &mut Rng::new(2_000 + seed)), &noise).0[3] - log_z
        })
        .collect();
    let variance = theorem(n as f64).double_value(&[3, 3]);
    let square = errors.iter().map(|e| e * e).sum::<f64>() / count as f64;
    // χ² with `count` degrees of freedom
    let z = (square / variance - 1.0) / (2.0 / count as f64).sqrt();
    assert!(z.abs() < FAR, "mean square error {square}, variance {variance}: z = {z}");
    // the twin: of ν = 1 noise the variance would be another
    assert!(z_of(&errors, 0.0).abs() < FAR);
}

#[test]
fn score_losses_do_not_see_masses_of_far_modes_and_the_contrast_does() {
    let far = |mass: f64| Mixture::new(&[vec![-8.0], vec![8.0]], &[mass, 1.0 - mass]).unwrap();
    let x = far(0.2).sample(4_000, &mut Rng::new(10));
    // the slope of each loss in z_1 at equal masses, the means where they are
    let of = |run: &dyn Fn(&mut Mixture, usize) -> Run| gradient(&mut far(0.5), run)[2].abs();
    for matching in [ScoreMatching::exact(), ScoreMatching::denoising(1.0), ScoreMatching::sliced(1)] {
        let slope = of(&|model, steps| probe(matching.clone()).steps(steps).train(model, &x).unwrap());
        assert!(slope < 1e-10, "{:?}: {slope}", matching.objective);
    }
    let noise = Gaussian::fit(&x, 0.0).unwrap();
    let slope = of(&|model, steps| {
        let nce = NoiseContrastive::new().steps(steps).optim(Optim::Sgd { momentum: 0.0 }).lr(1.0);
        nce.quiet().train(model, &x, &noise).unwrap()
    });
    assert!(slope > 0.05, "{slope}");
}

/// U = |x|²/2 with parameters that it does not use, or without a graph.
#[derive(Debug)]
struct Deaf {
    vs: nn::VarStore,
    graph: bool,
}

impl Deaf {
    fn new(graph: bool) -> Self {
        let vs = nn::VarStore::new(Device::Cpu);
        let _ = vs.root().var("theta", &[1], nn::Init::Const(1.0));
        Deaf { vs, graph }
    }
}

impl Differentiable for Deaf {}

impl Energy for Deaf {
    fn energy(&self, x: &Tensor) -> Tensor {
        let u = x.square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5;
        if self.graph { u } else { u.detach() }
    }
}

impl Model for Deaf {
    fn vars(&self) -> &nn::VarStore {
        &self.vs
    }
    fn vars_mut(&mut self) -> &mut nn::VarStore {
        &mut self.vs
    }
    fn base(&self) -> Result<Box<dyn Base>> {
        Ok(Box::new(Gaussian::isotropic(1, 1.0, Kind::Float, Device::Cpu)?))
    }
    fn dim(&self) -> i64 {
        1
    }
}

#[test]
fn energies_without_derivatives_end_the_run_with_a_cause_that_names_them() {
    let x = teacher().sample(10, &mut Rng::new(1));
    for (graph, said) in [(false, "an energy without a graph"), (true, "no graph through θ")] {
        for matching in objectives() {
            let run = matching.steps(3).quiet().train(&mut Deaf::new(graph), &x).unwrap();
            let cause = format!("{:?}", run.outcome);
            assert!(!run.finished() && cause.contains(said), "{cause}");
        }
    }
}

#[test]
fn settings_that_do_not_apply_are_refused_by_name() {
    let x = teacher().sample(20, &mut Rng::new(1));
    let scores = |matching: ScoreMatching| matching.train(&mut teacher(), &x).unwrap_err().to_string();
    for (text, said) in [
        (scores(ScoreMatching::hutchinson(0)), "probes = 0"),
        (scores(ScoreMatching::sliced(0)), "probes = 0"),
        (scores(ScoreMatching::denoising(f64::NAN)), "sigma = NaN"),
        (scores(ScoreMatching::denoising(0.1).data_noise(0.1)), "data_noise = Gaussian(0.1)"),
        (scores(ScoreMatching::exact().steps(5).every(6)), "every = 6: expected at most 5 steps"),
        (scores(ScoreMatching::exact().threads(0)), "threads = 0"),
        (scores(ScoreMatching::exact().data_noise(jarzynski::DataNoise::Bits)), "data_noise = \"bits\""),
    ] {
        assert!(text.starts_with(said), "{text}");
    }
    let contrast =
        |nce: NoiseContrastive, noise: &Gaussian| nce.train(&mut teacher(), &x, noise).unwrap_err().to_string();
    let (nce, noise) = (NoiseContrastive::new, Gaussian::new(&[0.0], &[2.0]).unwrap());
    for (text, said) in [
        (contrast(nce().ratio(0.0), &noise), "ratio = 0"),
        (contrast(nce().log_z(f64::INFINITY), &noise), "log_z = inf"),
        (contrast(nce().log_z_lr(-1.0), &noise), "log_z_lr = -1"),
        (contrast(nce().steps(5).every(6), &noise), "every = 6"),
        (contrast(nce().optim(Optim::natural()), &noise), "optim = natural"),
        (contrast(nce(), &Gaussian::new(&[0.0, 0.0], &[1.0, 1.0]).unwrap()), "noise has shape [64, 2]"),
    ] {
        assert!(text.starts_with(said), "{text}");
    }
    let wide = Tensor::cat(&[&x, &x], 1);
    let ladder = jarzynski::model::NoiseLadder::new(&wide, 0.2, &Default::default());
    let e =
        jarzynski::train::DualScoreMatching::new().steps(5).train(&mut ladder.unwrap(), &wide).unwrap_err().to_string();
    assert!(e.starts_with("every = 10: expected at most 5 steps"), "{e}");
    let flow = jarzynski::model::FlowNet::from_noise(&Default::default(), &wide, &Default::default());
    let e = jarzynski::FlowTrainer::new().steps(5).train(&mut flow.unwrap(), &wide).unwrap_err().to_string();
    assert!(e.starts_with("every = 10: expected at most 5 steps"), "{e}");
}

#[test]
fn the_base_of_a_model_and_binary_noise_serve_as_noise() {
    use jarzynski::model::{Rbm, RbmShape};
    let bits = Rng::new(5).uniform_tensor(&[400, 6], Kind::Double, Device::Cpu).round();
    let mut rbm = Rbm::bernoulli(&bits, &RbmShape { hidden: 4, scale: 0.3, ..Default::default() }).unwrap();
    let noise = rbm.base().unwrap();
    let nce = NoiseContrastive::new().ratio(4.0).steps(400).lr(0.02).schedule(Schedule::Cosine { end: 0.0 }).quiet();
    let run = nce.train(&mut rbm, &bits, &noise).unwrap();
    let (learned, exact) = (run.log_z_learned().unwrap(), rbm.exact_log_z().unwrap());
    // data and noise are the same distribution, and log p_m/p_n nearly constant: the error of c is about √((1 + 1/ν)/n)
    let z = (learned - exact) / (1.25f64 / 400.0).sqrt();
    assert!(z.abs() < FAR, "{learned}, exact {exact}");
    // a mixture fitted to data with far modes: it is nearly their distribution, and the masses are those of the data
    let far = |mass: f64| Mixture::new(&[vec![-8.0], vec![8.0]], &[mass, 1.0 - mass]).unwrap();
    let x = far(0.2).sample(2_000, &mut Rng::new(10));
    let (noise, mut model) = (DataMixture::base(&x, 2, 0.1, 0).unwrap(), far(0.5));
    let nce = NoiseContrastive::new().steps(600).lr(0.05).every(200).schedule(Schedule::Cosine { end: 0.0 }).quiet();
    let learned = nce.train(&mut model, &x, &noise).unwrap().log_z_learned().unwrap();
    let share = x.lt(0.0).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
    let se = (2.0 * share * (1.0 - share) / 2_000.0).sqrt();
    let z = (model.masses().double_value(&[0]) - share) / se;
    assert!(z.abs() < FAR && ((0.5 - share) / se).abs() > FAR, "{z}");
    // 1/n of the data and of the noise, by the modes' own terms
    let z = (learned - model.log_z_exact().unwrap()) / (2.0f64 / 2_000.0 * 2.0).sqrt();
    assert!(z.abs() < FAR, "{z}");
    assert!(DataMixture::base(&x, 0, 0.1, 0).is_err_and(|e| e.to_string().starts_with("components = 0")));
    assert!(DataMixture::base(&x, 2, 0.0, 0).is_err_and(|e| e.to_string().starts_with("noise = 0")));
    // Gaussian draws are no rows of such a machine
    let e = NoiseContrastive::new().train(
        &mut rbm,
        &bits,
        &Gaussian::isotropic(6, 1.0, Kind::Double, Device::Cpu).unwrap(),
    );
    assert!(e.unwrap_err().to_string().contains("0 or 1"));
    // the run owns its noise where the caller takes the steps
    let start = NoiseContrastive::new().steps(3).quiet();
    let mut run = start.start(teacher(), &teacher().sample(20, &mut Rng::new(1)), teacher()).unwrap();
    while run.step().unwrap().is_some() {}
    let (run, _) = run.finish().unwrap();
    // the noise is the model: log Z is known from the start, and data give no reason to leave it
    assert!((run.column("log_z_learned").unwrap()[0] - teacher().log_z_exact().unwrap()).abs() < 1e-10);
}
