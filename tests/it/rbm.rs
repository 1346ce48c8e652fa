//! Check restricted Boltzmann machines: sums by hand over all states, the four backward densities, gradients, estimates.

use crate::common::{FAR, z_of};
use jarzynski::density::{Bipartite, Layers, LayersPath};
use jarzynski::io::frame;
use jarzynski::kernel::{Gibbs, GibbsReverse, Kernel};
use jarzynski::model::{Rbm, RbmShape, Units};
use jarzynski::tch::{self, Device, Kind, Tensor};
use jarzynski::{
    Ais, At, DataNoise, Energy, Method, Model, Path, Rng, Tempering, Trainer, Transport, TrustRegion, Walkers,
};

const BACKS: [GibbsReverse; 4] =
    [GibbsReverse::SameScan, GibbsReverse::ReversedScan, GibbsReverse::Exact, GibbsReverse::Collapsed];

fn max(t: &Tensor) -> f64 {
    t.abs().max().double_value(&[])
}

/// A binary RBM as plain numbers, summed over all states without the library.
#[derive(Clone)]
struct Plain {
    w: Vec<Vec<f64>>,
    b: Vec<f64>,
    c: Vec<f64>,
}

type State = (Vec<f64>, Vec<f64>);

fn bits(k: usize) -> Vec<Vec<f64>> {
    (0..1usize << k).map(|s| (0..k).map(|i| (s >> i & 1) as f64).collect()).collect()
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

impl Plain {
    fn random(dv: usize, dh: usize, scale: f64, seed: u64) -> Self {
        let n = Vec::<f64>::try_from(Rng::new(seed).normal(&[(dv * dh + dv + dh) as i64], Kind::Double, Device::Cpu));
        let n: Vec<f64> = n.unwrap().iter().map(|v| v * scale).collect();
        let w = n[..dv * dh].chunks(dh).map(<[f64]>::to_vec).collect();
        Plain { w, b: n[dv * dh..dv * dh + dv].to_vec(), c: n[dv * dh + dv..].to_vec() }
    }
    fn rbm(&self, joint: bool) -> Rbm {
        let w = Tensor::from_slice(&self.w.concat()).view([self.b.len() as i64, self.c.len() as i64]);
        Rbm::with_parameters(&w, &Tensor::from_slice(&self.b), &Tensor::from_slice(&self.c), None, joint).unwrap()
    }
    fn a(&self, v: &[f64]) -> Vec<f64> {
        (0..self.c.len()).map(|i| self.c[i] + (0..v.len()).map(|j| v[j] * self.w[j][i]).sum::<f64>()).collect()
    }
    fn g(&self, h: &[f64]) -> Vec<f64> {
        (0..self.b.len()).map(|j| self.b[j] + (0..h.len()).map(|i| h[i] * self.w[j][i]).sum::<f64>()).collect()
    }
    fn log_p(x: &[f64], input: &[f64]) -> f64 {
        x.iter().zip(input).map(|(x, a)| x * a - softplus(*a)).sum()
    }
    fn u(&self, (v, h): &State) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        -dot(v, &self.b) - dot(h, &self.a(v))
    }
    fn f(&self, v: &[f64]) -> f64 {
        -v.iter().zip(&self.b).map(|(v, b)| v * b).sum::<f64>() - self.a(v).iter().map(|a| softplus(*a)).sum::<f64>()
    }
    fn states(&self) -> Vec<State> {
        let (vs, hs) = (bits(self.b.len()), bits(self.c.len()));
        vs.iter().flat_map(|v| hs.iter().map(|h| (v.clone(), h.clone()))).collect()
    }
    fn z(&self) -> f64 {
        self.states().iter().map(|s| (-self.u(s)).exp()).sum()
    }
    /// log f(x → y): h′ | v, then v′ | h′.
    fn log_f(&self, x: &State, y: &State) -> f64 {
        Self::log_p(&y.1, &self.a(&x.0)) + Self::log_p(&y.0, &self.g(&y.1))
    }
}

/// The increment of each backward density by the general formula, by hand; θ_k `now`, θ_{k+1} `next`.
fn increment(back: GibbsReverse, now: &Plain, next: &Plain, x: &State, y: &State) -> f64 {
    match back {
        GibbsReverse::SameScan => now.u(x) - next.u(y) + next.log_f(y, x) - now.log_f(x, y),
        GibbsReverse::ReversedScan => {
            let back = Plain::log_p(&x.0, &next.g(&y.1)) + Plain::log_p(&x.1, &next.a(&x.0));
            now.u(x) - next.u(y) + back - now.log_f(x, y)
        }
        GibbsReverse::Exact => now.u(y) - next.u(y),
        GibbsReverse::Collapsed => now.f(&y.0) - next.f(&y.0),
    }
}

/// Rows (v | h) or v as states.
fn read(x: &Tensor, dv: usize) -> Vec<State> {
    let d = x.size()[1] as usize;
    let flat = Vec::<f64>::try_from(x.to_kind(Kind::Double).contiguous().view(-1)).unwrap();
    flat.chunks(d).map(|r| (r[..dv].to_vec(), r[dv..].to_vec())).collect()
}

fn start(plain: &Plain, joint: bool, n: i64, seed: u64) -> Tensor {
    let d = plain.b.len() + if joint { plain.c.len() } else { 0 };
    Rng::new(seed).uniform_tensor(&[n, d as i64], Kind::Double, Device::Cpu).round()
}

fn two() -> (Plain, Plain) {
    (Plain::random(3, 2, 1.0, 1), Plain::random(3, 2, 1.2, 2))
}

#[test]
fn energies_conditionals_and_sums_agree_with_sums_by_hand() {
    for (dv, dh) in [(4, 3), (3, 5)] {
        let plain = Plain::random(dv, dh, 1.0, 3);
        let rbm = plain.rbm(true);
        let states = plain.states();
        let flat: Vec<f64> = states.iter().flat_map(|(v, h)| [&v[..], &h[..]].concat()).collect();
        let x = Tensor::from_slice(&flat).view([states.len() as i64, (dv + dh) as i64]);
        let (v, h) = (x.narrow(1, 0, dv as i64).contiguous(), x.narrow(1, dv as i64, dh as i64).contiguous());
        let units = rbm.units();
        let (a, g) = (units.hidden_input(&v), units.visible_input(&h));
        let by_hand = |f: &dyn Fn(&State) -> f64| Tensor::from_slice(&states.iter().map(f).collect::<Vec<_>>());
        for (got, exact) in [
            (rbm.evaluate(&x).u, by_hand(&|s| plain.u(s))),
            (tch::no_grad(|| rbm.energy(&x)), by_hand(&|s| plain.u(s))),
            (rbm.energy(&x).detach(), by_hand(&|s| plain.u(s))),
            (rbm.evaluate(&v).u, by_hand(&|s| plain.f(&s.0))),
            (rbm.energy(&v).detach(), by_hand(&|s| plain.f(&s.0))),
            (units.log_hidden(&h, &a), by_hand(&|s| Plain::log_p(&s.1, &plain.a(&s.0)))),
            (units.log_visible(&v, &g), by_hand(&|s| Plain::log_p(&s.0, &plain.g(&s.1)))),
        ] {
            assert!(max(&(got - exact)) < 1e-10);
        }
        let exact = rbm.exact().unwrap();
        assert!((exact.log_z - plain.z().ln()).abs() < 1e-10);
        assert_eq!(rbm.log_z_exact(), Some(rbm.exact_log_z().unwrap()));
        let p = by_hand(&|s| (-plain.u(s)).exp() / plain.z());
        assert!(max(&(p.unsqueeze(0).matmul(&v).squeeze_dim(0) - exact.v)) < 1e-10);
        assert!(max(&(p.unsqueeze(0).matmul(&h).squeeze_dim(0) - exact.h)) < 1e-10);
        assert!(max(&(v.tr().matmul(&(h * p.unsqueeze(-1))) - exact.uh)) < 1e-10);
    }
}

#[test]
fn each_backward_density_is_the_formula() {
    let (now, next) = two();
    for back in BACKS {
        let joint = back != GibbsReverse::Collapsed;
        let (a, b) = (now.rbm(joint), next.rbm(joint));
        let mut rng = Rng::new(5);
        let at = a.evaluate(&start(&now, joint, 2_000, 6));
        let kernel = Gibbs::with(back);
        let mv = kernel.forward(&a, &at, &mut rng);
        let (y, alpha) = (mv.y.copy(), mv.alpha.copy());
        let got = Vec::<f64>::try_from(alpha - kernel.backward(&b, &at, mv, &mut rng).lambda).unwrap();
        let (xs, ys) = (read(&at.x, 3), read(&y, 3));
        for ((x, y), got) in xs.iter().zip(&ys).zip(got) {
            assert!((increment(back, &now, &next, x, y) - got).abs() < 1e-10, "{back:?}");
        }
    }
}

/// log r(y → x) of each backward density, by hand; of v alone where walkers are v.
fn log_back(back: GibbsReverse, now: &Plain, next: &Plain, y: &State, x: &State) -> f64 {
    let reversed = |p: &Plain| Plain::log_p(&x.0, &p.g(&y.1)) + Plain::log_p(&x.1, &p.a(&x.0));
    match back {
        GibbsReverse::SameScan => next.log_f(y, x),
        GibbsReverse::ReversedScan => reversed(next),
        GibbsReverse::Exact => reversed(now),
        GibbsReverse::Collapsed => {
            let hidden = bits(now.c.len());
            hidden.iter().map(|h| now.log_f(y, &(x.0.clone(), h.clone())).exp()).sum::<f64>().ln()
        }
    }
}

#[test]
fn reverse_steps_are_drawn_from_the_backward_density_and_weighed_as_forward_ones() {
    let (now, next) = two();
    for back in BACKS {
        let joint = back != GibbsReverse::Collapsed;
        let (a, b) = (now.rbm(joint), next.rbm(joint));
        let n = 100_000;
        let y: State = (vec![1.0, 0.0, 1.0], if joint { vec![0.0, 1.0] } else { vec![] });
        let row = Tensor::from_slice(&[&y.0[..], &y.1[..]].concat()).view([1, -1]);
        let at = b.evaluate(&row.expand([n, row.size()[1]], false).contiguous());
        let step = Gibbs::with(back).reverse(&a, &b, &at, &mut Rng::new(9)).unwrap();
        assert!(max(&(&a.evaluate(&step.evaluation.x).u - &step.evaluation.u)) < 1e-10, "{back:?}");
        let xs = read(&step.evaluation.x, 3);
        for (x, got) in xs.iter().zip(Vec::<f64>::try_from(&step.increment).unwrap()).take(500) {
            assert!((increment(back, &now, &next, x, &y) - got).abs() < 1e-10, "{back:?}");
        }
        let states = if joint { now.states() } else { bits(3).into_iter().map(|v| (v, vec![])).collect() };
        let count = |s: &State| xs.iter().filter(|x| *x == s).count() as f64;
        let worst = |now: &Plain, next: &Plain| {
            let each = states.iter().map(|s| {
                let p = log_back(back, now, next, &y, s).exp();
                (count(s) - n as f64 * p) / (n as f64 * p * (1.0 - p)).sqrt()
            });
            each.fold(0.0f64, |m, z| m.max(z.abs()))
        };
        let total: f64 = states.iter().map(|s| log_back(back, &now, &next, &y, s).exp()).sum();
        assert!((total - 1.0).abs() < 1e-10, "{back:?}: {total}");
        assert!(worst(&now, &next) < FAR, "{back:?}: {}", worst(&now, &next));
        // Twin: the other end's parameters.
        assert!(worst(&next, &now) > FAR, "{back:?}: {}", worst(&next, &now));
    }
}

/// The weighted law of y after one step from a weighted law of x, by enumeration.
fn push(law: &[f64], states: &[State], now: &Plain, inc: impl Fn(&State, &State) -> f64) -> Vec<f64> {
    states.iter().map(|y| states.iter().zip(law).map(|(x, p)| p * (now.log_f(x, y) + inc(x, y)).exp()).sum()).collect()
}

#[test]
fn two_steps_give_the_final_law_times_the_ratio_of_partition_functions() {
    let (first, second) = two();
    let third = Plain::random(3, 2, 0.7, 4);
    let states = first.states();
    let start: Vec<f64> = states.iter().map(|s| (-first.u(s)).exp() / first.z()).collect();
    let wanted: Vec<f64> = states.iter().map(|s| (-third.u(s)).exp() / first.z()).collect();
    let gap = |law: &[f64]| law.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let visible = |law: &[f64]| -> Vec<f64> {
        bits(3).iter().map(|v| states.iter().zip(law).filter(|(s, _)| s.0 == *v).map(|(_, p)| p).sum()).collect()
    };
    for back in BACKS {
        let once = push(&start, &states, &first, |x, y| increment(back, &first, &second, x, y));
        let twice = push(&once, &states, &second, |x, y| increment(back, &second, &third, x, y));
        if back == GibbsReverse::Collapsed {
            // exact for functions of v; a walker's own h is biased
            let worst = visible(&twice).iter().zip(visible(&wanted)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-10 && gap(&twice) > 1e-3, "{worst} {}", gap(&twice));
        } else {
            assert!(gap(&twice) < 1e-10, "{back:?}: {}", gap(&twice));
        }
    }
    // Twins: the change of U paid where the walker was instead of where it is, and a backward scan at θ_k that is not
    // paired with U_{k+1}.
    let wrong = push(&start, &states, &first, |x, _| first.u(x) - second.u(x));
    let wrong = push(&wrong, &states, &second, |x, _| second.u(x) - third.u(x));
    assert!(gap(&wrong) > 1e-3);
    let wrong =
        push(&start, &states, &first, |x, y| second.log_f(y, x) - second.log_f(x, y) + first.u(x) - second.u(y));
    assert!(
        push(&wrong, &states, &second, |x, y| increment(GibbsReverse::SameScan, &second, &third, x, y))
            .iter()
            .zip(&wanted)
            .any(|(a, b)| (a - b).abs() > 1e-3)
    );
}

#[test]
fn at_fixed_parameters_reversals_are_free_and_the_same_scan_is_not() {
    let (plain, _) = two();
    let mut rng = Rng::new(7);
    for back in BACKS {
        let rbm = plain.rbm(back != GibbsReverse::Collapsed);
        let at = rbm.evaluate(&start(&plain, back != GibbsReverse::Collapsed, 500, 8));
        for kernel in [Gibbs::with(back), Gibbs { sweeps: 3, reverse: back }] {
            let mv = kernel.forward(&rbm, &at, &mut rng);
            let alpha = mv.alpha.copy();
            let spread = max(&(alpha - kernel.backward(&rbm, &at, mv, &mut rng).lambda));
            let step = max(&kernel.step(&rbm, &at, &mut rng).increment);
            match back {
                GibbsReverse::Exact | GibbsReverse::Collapsed => assert!(spread < 1e-12 && step == 0.0, "{back:?}"),
                GibbsReverse::ReversedScan => assert!(spread < 1e-10 && step < 1e-10, "{back:?}"),
                GibbsReverse::SameScan => assert!(spread > 0.1 && step > 0.1, "{back:?}"),
            }
        }
    }
    // Its variance in equilibrium, by enumeration and by walkers.
    let (states, z) = (plain.states(), plain.z());
    let inc = |x: &State, y: &State| increment(GibbsReverse::SameScan, &plain, &plain, x, y);
    let moment = |power: i32| -> f64 {
        let each = |x: &State, y: &State| (-plain.u(x) + plain.log_f(x, y)).exp() / z * inc(x, y).powi(power);
        states.iter().map(|x| states.iter().map(|y| each(x, y)).sum::<f64>()).sum()
    };
    let (mean, variance) = (moment(1), moment(2) - moment(1).powi(2));
    let rbm = plain.rbm(true);
    let n = 40_000;
    let mut w = Walkers::start(&rbm, n, false, &mut rng).unwrap();
    w.resample(jarzynski::Scheme::Multinomial, &mut rng);
    for _ in 0..30 {
        w.relocate(Gibbs::with(GibbsReverse::Exact).step(&rbm, w.evaluation(), &mut rng).evaluation);
    }
    let a = Gibbs::with(GibbsReverse::SameScan).step(&rbm, w.evaluation(), &mut rng).increment;
    assert!(z_of(&(&a - mean).square(), variance).abs() < FAR, "{variance}");
    // E e^A = 1 all the same
    assert!(z_of(&a.exp(), 1.0).abs() < FAR);
}

// ---- Gaussian visible units

fn gaussian(w: &[&[f64]], b: &[f64], c: &[f64], sigma: &[f64], joint: bool) -> Rbm {
    let w = Tensor::from_slice(&w.concat()).view([b.len() as i64, c.len() as i64]);
    let t = |v: &[f64]| Tensor::from_slice(v);
    Rbm::with_parameters(&w, &t(b), &t(c), Some(&t(sigma)), joint).unwrap()
}

fn one_unit(joint: bool) -> Rbm {
    gaussian(&[&[0.8, -1.1]], &[0.4], &[0.2, -0.3], &[2.0], joint)
}

#[test]
fn gaussian_units_have_the_known_values() {
    let exact = one_unit(false).exact().unwrap();
    assert!((exact.log_z - 3.2122731608353616).abs() < 1e-12);
    assert!((exact.v.double_value(&[0]) - 0.446065590972849).abs() < 1e-12);
    let variance = exact.v2.double_value(&[0]) - exact.v.double_value(&[0]).powi(2);
    assert!((variance - 6.146342).abs() < 1e-6);
    let two = gaussian(&[&[0.5, -0.7, 0.3], &[0.2, 0.9, -0.4]], &[0.3, -0.2], &[0.1, -0.2, 0.4], &[0.5, 1.5], false);
    assert!((two.exact_log_z().unwrap() - 4.1637142055991).abs() < 1e-11);
    // F by quadrature: ∫ e^{−F} dv = Z in one dimension
    let rbm = one_unit(false);
    let v = Tensor::linspace(-40.0, 40.0, 8001, (Kind::Double, Device::Cpu)).unsqueeze(-1);
    let total = (-rbm.evaluate(&v).u).logsumexp(0, false).double_value(&[]) + 0.01f64.ln();
    assert!((total - exact.log_z).abs() < 1e-10);
    // log p(v | h) is a density
    let units = rbm.units();
    let h = Tensor::from_slice(&[1.0, 0.0]).view([1, 2]);
    let g = units.visible_input(&h).expand([8001, 1], false);
    assert!((units.log_visible(&v, &g).logsumexp(0, false).double_value(&[]) + 0.01f64.ln()).abs() < 1e-10);
}

#[test]
fn the_conditional_mean_has_its_sigma() {
    // (48) prints b + Wh for the mean; (46) implies b + σ(Wh). Var v is 6.146 against 4.518.
    let rbm = one_unit(false);
    let (n, mut rng) = (20_000, Rng::new(3));
    let mut v = rbm.base().unwrap().sample(n, &mut rng);
    let mut wrong = v.copy();
    let u = rbm.units();
    for _ in 0..40 {
        v = u.draw_visible(&u.draw_hidden(&u.hidden_input(&v), &mut rng), &mut rng);
        let h = u.draw_hidden(&u.hidden_input(&wrong), &mut rng);
        wrong = &u.b + h.matmul(&u.w.tr()) + rng.normal(&[n as i64, 1], Kind::Double, Device::Cpu) * 2.0;
    }
    let z = |v: &Tensor, exact: f64| z_of(&(v - v.mean(Kind::Double)).square(), exact);
    assert!(z(&v, 6.146342).abs() < FAR, "{}", z(&v, 6.146342));
    assert!(z(&wrong, 6.146342).abs() > FAR && z(&wrong, 4.518).abs() < FAR);
}

// ---- gradients

/// The largest difference between `grads` and central differences of `f` in all parameters.
pub fn differences(rbm: &Rbm, grads: &[Tensor], f: &dyn Fn() -> f64) -> f64 {
    let (step, mut worst) = (1e-5, 0.0f64);
    for (p, g) in rbm.vars().trainable_variables().iter().zip(grads) {
        let flat = tch::no_grad(|| p.view(-1));
        for i in 0..flat.size()[0] {
            let nudge = |by: f64| tch::no_grad(|| drop(flat.get(i).g_add_scalar_(by)));
            nudge(step);
            let up = f();
            nudge(-2.0 * step);
            let slope = (up - f()) / (2.0 * step);
            nudge(step);
            worst = worst.max((slope - g.contiguous().view(-1).double_value(&[i])).abs());
        }
    }
    worst
}

#[test]
fn gradients_agree_with_differences() {
    let binary = Plain::random(4, 3, 0.8, 1);
    let g = || gaussian(&[&[0.5, -0.7, 0.3], &[0.2, 0.9, -0.4]], &[0.3, -0.2], &[0.1, -0.2, 0.4], &[0.5, 1.5], false);
    let x4 = start(&binary, false, 7, 2);
    let x2 = Rng::new(4).normal(&[7, 2], Kind::Double, Device::Cpu);
    for (rbm, x) in [(binary.rbm(false), x4), (g(), x2)] {
        let w = Rng::new(5).normal(&[7], Kind::Double, Device::Cpu);
        let grads = rbm.param_grad(&mut rbm.evaluate_data(&x), &w);
        let f = || tch::no_grad(|| rbm.energy(&x)).dot(&w).double_value(&[]);
        assert!(differences(&rbm, &grads, &f) < 1e-7);
        let exact = rbm.exact_gradient(&x).unwrap();
        let h = || -rbm.exact_log_likelihood(&x).unwrap();
        assert!(differences(&rbm, &exact, &h) < 1e-7, "the gradient of the exact likelihood");
        // Twin: the data's part alone.
        let even = Tensor::full([7], 1.0 / 7.0, (Kind::Double, Device::Cpu));
        assert!(differences(&rbm, &rbm.param_grad(&mut rbm.evaluate_data(&x), &even), &h) > 1e-2);
    }
    // joint rows: ∂U
    let rbm = binary.rbm(true);
    let x = start(&binary, true, 9, 3);
    let w = Rng::new(6).normal(&[9], Kind::Double, Device::Cpu);
    let grads = rbm.param_grad(&mut rbm.evaluate(&x), &w);
    assert!(differences(&rbm, &grads, &|| tch::no_grad(|| rbm.energy(&x)).dot(&w).double_value(&[])) < 1e-7);
}

#[test]
fn a_centred_gradient_is_that_of_centred_units() {
    let data = start(&Plain::random(4, 3, 1.0, 1), false, 50, 2);
    let shape = RbmShape { hidden: 3, scale: 0.5, centred: true, ..Default::default() };
    let rbm = Rbm::bernoulli(&data, &shape).unwrap();
    let raw = rbm.exact_gradient(&data).unwrap();
    let grads = rbm.precondition(raw.iter().map(Tensor::copy).collect());
    // ⟨(v − μ)(h − λ)ᵀ⟩ of the data less that of the model
    let (exact, units) = (rbm.exact().unwrap(), rbm.units());
    let mu = data.mean_dim(0, false, Kind::Double);
    let lambda = (&units.c + mu.matmul(&units.w)).sigmoid();
    let p = rbm.hidden_means(&data).unwrap();
    let of_data = (&data - &mu).tr().matmul(&(&p - &lambda)) / 50.0;
    let outer = |a: &Tensor, b: &Tensor| a.unsqueeze(-1) * b.unsqueeze(0);
    let of_model = exact.uh - outer(&mu, &exact.h) - outer(&exact.v, &lambda) + outer(&mu, &lambda);
    assert!(max(&(&grads[0] + (of_data - of_model))) < 1e-10);
    assert!(max(&(&grads[0] - &raw[0])) > 1e-3);
    // a direction of descent
    let along: f64 = raw.iter().zip(&grads).map(|(a, b)| (a * b).sum(Kind::Double).double_value(&[])).sum();
    assert!(along > 0.0);
}

// ---- along a path

#[test]
fn every_backward_density_meets_the_exact_answers_along_a_path() {
    let models = |joint| {
        let g = gaussian(&[&[0.3, -0.4, 0.2], &[0.1, 0.5, -0.2]], &[0.3, -0.2], &[0.1, -0.2, 0.4], &[0.5, 1.5], joint);
        [("binary", Plain::random(4, 3, 0.4, 3).rbm(joint)), ("Gaussian", g)]
    };
    for back in BACKS {
        for (name, rbm) in models(back != GibbsReverse::Collapsed) {
            let (path, exact) = (LayersPath::to(&rbm).unwrap(), rbm.exact().unwrap());
            for sweeps in [1, 2] {
                // the same scan pays at every sweep
                let steps = if back == GibbsReverse::SameScan { 4 } else { 10 };
                let run = Transport::new(Gibbs { sweeps, reverse: back }, steps, 20_000, 4).run(&path).unwrap();
                let w = &run.walkers;
                assert!(w.ess() > 0.05, "{name}, {back:?}: ESS/N {}", w.ess());
                let first = w.mean(&w.x().select(1, 0)).unwrap();
                let zs = [z_of(&w.log_z(), exact.log_z), z_of(&first, exact.v.double_value(&[0]))];
                assert!(zs.iter().all(|z| z.abs() < FAR), "{name}, {back:?}, {sweeps} sweeps: {zs:?}");
            }
        }
    }
}

/// Lemma 3's weight without the backward density's change of parameters.
#[derive(Debug)]
struct Stale(Gibbs);

impl<'a> Kernel<At<'a, LayersPath<Units>>> for Stale {
    fn forward(
        &self,
        u: &At<'a, LayersPath<Units>>,
        at: &jarzynski::Evaluation,
        rng: &mut Rng,
    ) -> jarzynski::kernel::Move {
        self.0.forward(u, at, rng)
    }
    fn backward(
        &self,
        u: &At<'a, LayersPath<Units>>,
        at: &jarzynski::Evaluation,
        mv: jarzynski::kernel::Move,
        rng: &mut Rng,
    ) -> jarzynski::kernel::Arrival {
        let (point, before) = (u.evaluate(&mv.y), At::new(u.path, u.t - u.h));
        let wrong = self.0.backward(&before, at, mv, rng);
        jarzynski::kernel::Arrival::new(wrong.lambda, point, wrong.cost)
    }
}

#[test]
fn a_weight_at_the_old_parameters_is_rejected() {
    for back in BACKS {
        let rbm = Plain::random(4, 3, 0.5, 3).rbm(back != GibbsReverse::Collapsed);
        let (path, exact) = (LayersPath::to(&rbm).unwrap(), rbm.exact_log_z().unwrap());
        let run = Transport::new(Stale(Gibbs::with(back)), 30, 20_000, 4).run(&path).unwrap();
        let z = run.walkers.log_z();
        assert!(z_of(&z, exact).abs() > FAR, "{back:?}: {z}");
    }
}

#[test]
fn collapsed_weights_are_for_functions_of_v_only() {
    // Strong coupling in few steps: the walker's own h lags.
    let plain = Plain::random(5, 4, 1.3, 6);
    let (rbm, n, steps) = (plain.rbm(false), 40_000, 6);
    let path = LayersPath::to(&rbm).unwrap();
    let exact = rbm.exact().unwrap();
    let mut rng = Rng::new(9);
    let at0 = At::new(&path, 0.0);
    let mut walkers = Walkers::start_from(path.base(), &at0, n, false, &mut rng).unwrap();
    let mut own = walkers.x().narrow(1, 0, 4);
    for k in 0..steps {
        let (now, next) = At::step(&path, k as f64 / steps as f64, (k + 1) as f64 / steps as f64);
        let units = Bipartite::layers(&now);
        own = units.draw_hidden(&units.hidden_input(walkers.x()), &mut rng);
        let v = units.draw_visible(&own, &mut rng);
        let (old, new) = (now.evaluate(&v), next.evaluate(&v));
        walkers.commit(new, &old.u, &next.evaluate(&v).u);
    }
    let (mut by_v, mut by_h) = (0.0f64, 0.0f64);
    let means = rbm.hidden_means(walkers.x()).unwrap();
    for i in 0..4 {
        let z = |g: &Tensor| z_of(&walkers.mean(g).unwrap(), exact.h.double_value(&[i])).abs();
        by_v = by_v.max(z(&means.select(1, i)));
        by_h = by_h.max(z(&own.select(1, i)));
    }
    assert!(by_v < FAR, "σ(a) is a function of v: {by_v}");
    assert!(by_h > FAR, "a walker's own h is not: {by_h}");
}

// ---- estimates of log Z

#[test]
fn annealed_importance_sampling_is_unbiased_over_seeds() {
    let rbm = Plain::random(8, 6, 0.8, 2).rbm(false);
    let exact = rbm.exact_log_z().unwrap();
    let runs: Vec<_> = (0..100).map(|seed| Ais::new().steps(40).walkers(200).seed(seed).log_z(&rbm).unwrap()).collect();
    let ratios: Vec<f64> = runs.iter().map(|z| (z.value - exact).exp()).collect();
    assert!(z_of(&ratios, 1.0).abs() < FAR, "{:?}", frame::mean_se(&ratios));
    // its own error bars: the z-scores have variance about 1 (100 of them: ± .14)
    let z: Vec<f64> = runs.iter().map(|e| z_of(e, exact)).collect();
    let spread = z.iter().map(|z| z * z).sum::<f64>() / 100.0;
    assert!((0.4..1.9).contains(&spread), "{spread}");
    // temperatures from a pilot, and a path through saved parameters
    for ais in [
        Ais::new().steps(40).walkers(4_000).seed(1).adaptive(40),
        Ais::new().steps(40).walkers(4_000).seed(1).through(vec![Plain::random(8, 6, 0.5, 3).rbm(false).units()]),
    ] {
        let z = ais.log_z(&rbm).unwrap();
        assert!(z_of(&z, exact).abs() < FAR, "{z} {exact}");
    }
    let text = Ais::new()
        .steps(10)
        .walkers(10)
        .through(vec![Plain::random(3, 2, 1.0, 1).rbm(false).units()])
        .run(&rbm)
        .unwrap_err();
    assert!(text.to_string().contains("saved parameters"), "{text}");
}

fn bars() -> Tensor {
    jarzynski::data::bars_and_stripes(3).unwrap().x.to_kind(Kind::Double)
}

#[test]
fn online_log_z_of_the_monitor_is_calibrated_and_training_learns() {
    let data = bars();
    let mut z = Vec::new();
    for seed in 0..12 {
        let shape = RbmShape { hidden: 6, scale: 0.3, seed, ..Default::default() };
        let mut rbm = Rbm::bernoulli(&data, &shape).unwrap();
        let before = rbm.exact_log_likelihood(&data).unwrap();
        let trainer = Trainer::new(Gibbs::new(), Method::Jarzynski { ess_min: 0.5 });
        let run = trainer.walkers(1_000).steps(400).lr(0.3).seed(seed).quiet().train(&mut rbm, &data).unwrap();
        assert!(run.finished() && rbm.exact_log_likelihood(&data).unwrap() > before + 0.3);
        let last = |c: &str| *run.column(c).unwrap().last().unwrap();
        assert!((last("log_z_exact") - rbm.exact_log_z().unwrap()).abs() < 1e-12);
        z.push((last("log_z_monitor") - last("log_z_exact")).exp());
    }
    assert!(z_of(&z, 1.0).abs() < FAR, "{z:?}");
}

#[test]
fn all_methods_train_and_the_same_seed_gives_the_same_bits() {
    let data = bars().to_kind(Kind::Float);
    let train = |method, kernel, joint, update, seed| {
        let mut rbm = Rbm::bernoulli(&data, &RbmShape { hidden: 8, scale: 0.3, joint, ..Default::default() }).unwrap();
        let mut t = Trainer::new(kernel, method).walkers(500).steps(400).lr(0.3).batch(8).seed(seed).quiet();
        t.settings.trust_region = update;
        let run = t.train(&mut rbm, &data).unwrap();
        assert!(run.finished(), "{:?}", run.outcome);
        (rbm.exact_log_likelihood(&data).unwrap(), rbm.units().copy())
    };
    let jarzynski = Method::Jarzynski { ess_min: 0.5 };
    let bridge = Some(TrustRegion::Substeps { ess: 0.9, max: 20 });
    let independent = {
        let rbm = Rbm::bernoulli(&data, &RbmShape { hidden: 8, scale: 0.0, ..Default::default() }).unwrap();
        rbm.exact_log_likelihood(&data).unwrap()
    };
    for (name, method, kernel, joint, update) in [
        ("cd-1", Method::Cd { k: 1 }, Gibbs::new(), false, None),
        ("pcd-2", Method::Pcd, Gibbs::sweeps(2), false, None),
        ("jarzynski", jarzynski, Gibbs::new(), false, None),
        ("jarzynski, bridged", jarzynski, Gibbs::new(), false, bridge),
        ("jarzynski, joint", jarzynski, Gibbs::with(GibbsReverse::Exact), true, None),
        ("cd-1, joint", Method::Cd { k: 1 }, Gibbs::with(GibbsReverse::Exact), true, None),
    ] {
        let (ll, a) = train(method, kernel, joint, update, 1);
        assert!(ll > independent + 0.2, "{name}: {ll} against {independent}");
        let (_, b) = train(method, kernel, joint, update, 1);
        let (_, c) = train(method, kernel, joint, update, 2);
        assert!(a.w.equal(&b.w) && a.b.equal(&b.b) && !a.w.equal(&c.w), "{name}");
    }
}

#[test]
fn tempering_crosses_where_gibbs_does_not() {
    // Two modes, all units on or all off, with equal mass; couplings of 3 between every pair of layers' units.
    let (dv, dh) = (6, 6);
    let w = Tensor::full([dv, dh], 3.0, (Kind::Double, Device::Cpu));
    let b = Tensor::full([dv], -9.0, (Kind::Double, Device::Cpu));
    let rbm =
        Rbm::with_parameters(&w, &b, &Tensor::full([dh], -9.0, (Kind::Double, Device::Cpu)), None, false).unwrap();
    let exact = rbm.exact().unwrap().v.double_value(&[0]);
    assert!((exact - 0.5).abs() < 1e-9);
    let run = Tempering::new().replicas(12).chains(500).rounds(200).seed(3).run(&rbm).unwrap();
    let on = run.v.select(1, 0).mean(Kind::Double).double_value(&[]);
    assert!(z_of(&(on, (0.25f64 / 500.0).sqrt()), exact).abs() < FAR, "{on}");
    let rates = frame::column_f64(&run.swaps, "rate").unwrap();
    assert!(rates.len() == 11 && rates.iter().all(|r| *r > 0.02 && *r <= 1.0), "{rates:?}");
    // Twin: as many sweeps of Gibbs alone from the same start, all units off.
    let mut rng = Rng::new(4);
    let mut at = rbm.evaluate(&Tensor::zeros([500, dv], (Kind::Double, Device::Cpu)));
    for _ in 0..200 {
        at = Gibbs::new().step(&rbm, &at, &mut rng).evaluation;
    }
    assert!(at.x.select(1, 0).mean(Kind::Double).double_value(&[]) < 0.2);
    for (bad, words) in
        [(Tempering::new().betas(&[0.0, 0.5]), "betas"), (Tempering::new().replicas(3).chains(0), "chains = 0")]
    {
        let text = bad.run(&rbm).unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn pseudo_likelihood_and_reconstruction() {
    let plain = Plain::random(5, 3, 1.0, 4);
    let rbm = plain.rbm(false);
    let v = start(&plain, false, 40, 1);
    // Σ_j log p(v_j | rest) by hand
    let exact: Vec<f64> = read(&v, 5)
        .iter()
        .map(|(v, _)| {
            let each = |j: usize| {
                let mut other = v.clone();
                other[j] = 1.0 - v[j];
                -softplus(plain.f(v) - plain.f(&other))
            };
            (0..5).map(each).sum()
        })
        .collect();
    let exact = exact.iter().sum::<f64>() / 40.0;
    let got: Vec<f64> = (0..400).map(|s| rbm.pseudo_likelihood(&v, &mut Rng::new(s)).unwrap()).collect();
    assert!(z_of(&got, exact).abs() < FAR, "{exact} {:?}", frame::mean_se(&got));
    let h = rbm.hidden_means(&v).unwrap();
    assert!(max(&(rbm.reconstruct(&v).unwrap() - rbm.visible_means(&h).unwrap())) < 1e-12);
}

#[test]
fn bad_input_is_named() {
    let refused = |r: jarzynski::Result<Rbm>, words: &[&str]| {
        let text = r.unwrap_err().to_string();
        assert!(words.iter().all(|w| text.contains(w)), "{text}");
    };
    let shape = RbmShape { hidden: 3, ..Default::default() };
    let grey = Tensor::from_slice(&[0.0, 1.0, 0.5, 1.0]).view([2, 2]);
    refused(Rbm::bernoulli(&grey, &shape), &["0.5 at row 1, column 0", "binarise"]);
    refused(Rbm::bernoulli(&(&grey * f64::NAN), &shape), &["data is not finite"]);
    refused(Rbm::bernoulli(&grey.get(0), &shape), &["data has shape [2]"]);
    refused(Rbm::gaussian(&grey, &RbmShape { hidden: 0, ..Default::default() }), &["hidden = 0"]);
    refused(Rbm::gaussian(&grey, &RbmShape { scale: -1.0, ..shape.clone() }), &["scale = -1"]);
    refused(Rbm::gaussian(&grey, &RbmShape { centred: true, ..shape.clone() }), &["centred"]);
    let (w, b, c) =
        (Tensor::zeros([2, 3], (Kind::Double, Device::Cpu)), grey.get(0), Tensor::from_slice(&[0.0, 0.0, 0.0]));
    refused(
        Rbm::with_parameters(&w, &b, &c, Some(&Tensor::from_slice(&[1.0, 0.0])), false),
        &["sigma = 0", "positive"],
    );
    refused(Rbm::with_parameters(&w, &c, &c, None, false), &["b has shape [3]", "[2]"]);

    let binary = grey.ge(0.6).to_kind(Kind::Double);
    let mut rbm = Rbm::bernoulli(&binary, &shape).unwrap();
    let train = |rbm: &mut Rbm, kernel: Gibbs, data: &Tensor| {
        Trainer::new(kernel, Method::Pcd)
            .walkers(10)
            .steps(2)
            .quiet()
            .train(rbm, data)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(train(&mut rbm, Gibbs::new(), &grey).contains("0.5 at row 1"));
    let anew = |model: &mut Rbm, data: &Tensor| {
        let trainer = Trainer::new(Gibbs::new(), Method::Pcd).walkers(10).steps(2).quiet();
        trainer.data_noise(DataNoise::Bits).train(model, data)
    };
    assert!(anew(&mut rbm, &grey).unwrap().finished(), "probabilities are data where bits are drawn from them");
    let text = anew(&mut rbm, &(&grey * 1.5)).unwrap_err().to_string();
    assert!(text.contains("row 0") && text.contains("between 0 and 1"), "{text}");
    let mut real = Rbm::gaussian(&grey, &shape).unwrap();
    let text = anew(&mut real, &grey).unwrap_err().to_string();
    assert!(text.contains("data_noise") && text.contains("zeros and ones"), "{text}");
    assert!(train(&mut rbm, Gibbs::new(), &binary.repeat([1, 2])).contains("data has shape [2, 4]"));
    assert!(train(&mut rbm, Gibbs::sweeps(0), &binary).contains("sweeps = 0"));
    let text = train(&mut rbm, Gibbs::with(GibbsReverse::SameScan), &binary);
    assert!(text.contains("walkers has shape [10, 2]") && text.contains("joint"), "{text}");
    let large =
        Rbm::bernoulli(&Tensor::ones([2, 60], (Kind::Float, Device::Cpu)), &RbmShape { hidden: 40, ..shape }).unwrap();
    let text = large.exact_log_z().unwrap_err().to_string();
    assert!(text.contains("40") && text.contains("10^14") && text.contains("Ais"), "{text}");
    assert!(large.log_z_exact().is_none());
    let _: Units = large.units();
}
