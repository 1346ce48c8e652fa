//! Check the models against closed forms, finite differences and their own samples.

use crate::common::{FAR, z_of};
use jarzynski::model::{Cnn, Gaussian, Mixture, Mlp};
use jarzynski::tch::{self, Device, Kind, Tensor};
use jarzynski::{Base, Energy, Evaluation, Method, Model, Optim, Rng, Trainer, Ula};

fn mixture() -> Mixture {
    let means = [vec![-1.0, 0.5, 0.2], vec![0.7, -0.4, 1.0], vec![0.1, 2.0, -1.0]];
    Mixture::with_sigma(&means, &[0.2, 0.5, 0.3], &[0.6, 1.1, 0.8], Kind::Double, Device::Cpu).unwrap()
}

fn stirred(mut model: Mlp, seed: u64) -> Mlp {
    let mut rng = Rng::new(seed);
    tch::no_grad(|| {
        for mut p in model.vars_mut().trainable_variables() {
            let noise = rng.normal(&p.size(), p.kind(), p.device()) * 0.3;
            let _ = p.g_add_(&noise);
        }
    });
    model
}

/// max |∇U − central difference| over rows and coordinates.
fn gradient_error<E: Energy>(e: &E, x: &Tensor) -> f64 {
    let at = e.evaluate(x);
    let step = 1e-5;
    let mut worst: f64 = 0.0;
    for j in 0..x.size()[1] {
        let shift = Tensor::zeros_like(&x.get(0));
        let _ = shift.get(j).fill_(step);
        let d = tch::no_grad(|| (e.energy(&(x + &shift)) - e.energy(&(x - &shift))) / (2.0 * step));
        worst = worst.max((d - at.grad().select(1, j)).abs().max().double_value(&[]));
    }
    worst
}

/// max |Σ w ∂_θU − central difference| over all parameters.
fn parameter_gradient_error<M: Model>(m: &M, x: &Tensor, w: &Tensor) -> f64 {
    let mut at = m.evaluate_data(x);
    let grads = m.param_grad(&mut at, w);
    let step = 1e-5;
    let mut worst: f64 = 0.0;
    for (p, g) in m.vars().trainable_variables().iter().zip(&grads) {
        let flat = tch::no_grad(|| p.view(-1));
        for i in 0..flat.size()[0] {
            let at = |delta: f64| {
                tch::no_grad(|| {
                    let mut cell = flat.get(i);
                    let old = cell.double_value(&[]);
                    let _ = cell.fill_(old + delta);
                    let v = m.energy(x).dot(w).double_value(&[]);
                    let _ = cell.fill_(old);
                    v
                })
            };
            let d = (at(step) - at(-step)) / (2.0 * step);
            worst = worst.max((d - g.view(-1).double_value(&[i])).abs());
        }
    }
    worst
}

#[test]
fn gradients_agree_with_finite_differences() {
    let mut rng = Rng::new(2);
    let x = rng.normal(&[7, 3], Kind::Double, Device::Cpu);
    let w = rng.normal(&[7], Kind::Double, Device::Cpu);
    let m = mixture();
    assert!(gradient_error(&m, &x) < 1e-8);
    assert!(parameter_gradient_error(&m, &x, &w) < 1e-8);
    let g = Gaussian::new(&[0.1, -0.3, 2.0], &[0.5, 1.5, 1.0]).unwrap();
    assert!(gradient_error(&g, &x) < 1e-8);
    let net = stirred(Mlp::new(3, &[8, 5], 1.3, 0, Kind::Double, Device::Cpu).unwrap(), 4);
    assert!(gradient_error(&net, &x) < 1e-8);
    assert!(parameter_gradient_error(&net, &x, &w) < 1e-8);
}

#[test]
fn closed_form_evaluation_equals_autograd() {
    let m = mixture();
    let x = Rng::new(3).normal(&[50, 3], Kind::Double, Device::Cpu) * 3.0;
    let (closed, auto) = (m.evaluate(&x), Evaluation::autograd(&m, &x));
    assert!((&closed.u - &auto.u).abs().max().double_value(&[]) < 1e-12);
    assert!((closed.grad() - auto.grad()).abs().max().double_value(&[]) < 1e-12);
}

#[test]
fn mixture_log_z_and_masses_are_those_of_quadrature() {
    // 1-D: the trapezoid rule on a smooth, decaying integrand converges beyond f64 at this spacing.
    let means = [vec![-1.0], vec![1.5]];
    let m = Mixture::with_sigma(&means, &[0.3, 0.7], &[0.5, 0.8], Kind::Double, Device::Cpu).unwrap();
    let (lo, step, n) = (-15.0, 1e-3, 30_001);
    let x = (Tensor::arange(n, (Kind::Double, Device::Cpu)) * step + lo).view([n, 1]);
    let rho = tch::no_grad(|| (-m.energy(&x)).exp());
    let z = rho.sum(Kind::Double).double_value(&[]) * step;
    assert!((z.ln() - m.log_z_exact().unwrap()).abs() < 1e-10);
    let first = (m.responsibilities(&x).select(1, 0) * &rho).sum(Kind::Double).double_value(&[]) * step / z;
    assert!((first - 0.3).abs() < 1e-10);
    assert!((m.masses().double_value(&[0]) - 0.3).abs() < 1e-12);
    // Normalised weights and unit σ: U is −log of the density up to the constant log Z.
    let frozen = m.frozen().unwrap();
    assert!(tch::no_grad(|| frozen.energy(&x)).equal(&tch::no_grad(|| m.energy(&x))));
}

#[test]
fn samples_have_the_masses_and_moments_of_the_law() {
    let m = mixture();
    let n = 40_000;
    for stratified in [false, true] {
        let mut rng = Rng::new(9);
        let x =
            if stratified { m.sample_stratified(n, &mut rng) } else { Model::base(&m).unwrap().sample(n, &mut rng) };
        let g = m.responsibilities(&x);
        for j in 0..3 {
            let (gj, p) = (g.select(1, j), m.masses().double_value(&[j]));
            let z = z_of(&gj, p);
            assert!(z.abs() < FAR, "stratified {stratified}, mode {j}: z = {z}");
        }
    }
}

#[test]
fn nets_start_as_exact_gaussians_and_cnn_has_the_papers_size() {
    let x = Rng::new(1).normal(&[6, 784], Kind::Float, Device::Cpu);
    let cnn = Cnn::new(28, &[16, 32, 64, 64], 1.0, 0, Kind::Float, Device::Cpu).unwrap();
    let base = cnn.base().unwrap();
    let gap = tch::no_grad(|| cnn.energy(&x) - base.energy(&x)).abs().max().double_value(&[]);
    assert_eq!(gap, 0.0);
    assert_eq!(cnn.parameter_count(), 76_993);
    let exact = 784.0 * 0.5 * (2.0 * std::f64::consts::PI).ln();
    assert!((base.log_z() - exact).abs() < 1e-9);
}

#[test]
fn safetensors_round_trip_and_refuse_another_shape() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let a = stirred(Mlp::new(3, &[8], 1.0, 0, Kind::Float, Device::Cpu).unwrap(), 1);
    a.save(&path).unwrap();
    let mut b = Mlp::new(3, &[8], 1.0, 5, Kind::Float, Device::Cpu).unwrap();
    b.load(&path).unwrap();
    let x = Rng::new(1).normal(&[4, 3], Kind::Float, Device::Cpu);
    assert!(tch::no_grad(|| a.energy(&x)).equal(&tch::no_grad(|| b.energy(&x))));
    let mut c = Mlp::new(3, &[9], 1.0, 0, Kind::Float, Device::Cpu).unwrap();
    assert!(c.load(&path).is_err());
    assert!(b.load(&dir.path().join("absent.safetensors")).is_err());
}

#[test]
fn bad_models_are_refused_by_name() {
    let says = |e: jarzynski::Error, part: &str| assert!(e.to_string().contains(part), "{e}");
    says(Mixture::new(&[], &[]).unwrap_err(), "means");
    says(Mixture::new(&[vec![0.0], vec![1.0, 2.0]], &[0.5, 0.5]).unwrap_err(), "means");
    says(Mixture::new(&[vec![0.0]], &[-1.0]).unwrap_err(), "weights = -1");
    says(Mixture::new(&[vec![0.0]], &[1.0, 2.0]).unwrap_err(), "weights has shape [2]");
    says(Gaussian::new(&[0.0], &[0.0]).unwrap_err(), "sigma = 0");
    says(Mlp::new(0, &[4], 1.0, 0, Kind::Float, Device::Cpu).unwrap_err(), "dim = 0");
    says(Mlp::new(2, &[], 1.0, 0, Kind::Float, Device::Cpu).unwrap_err(), "widths");
    says(Cnn::new(28, &[1, 2], 1.0, 0, Kind::Float, Device::Cpu).unwrap_err(), "channels");
}

#[test]
fn a_mixture_never_reads_rows_of_another_width() {
    let (m, wide) = (mixture(), Tensor::zeros([4, 6], (Kind::Double, Device::Cpu)));
    let refused = |f: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err();
    assert!(refused(&|| drop(m.evaluate(&wide))));
    assert!(refused(&|| drop(m.evaluate_data(&wide))));
    assert!(m.evaluate(&wide.narrow(1, 0, 3).contiguous()).len() == 4);
}

#[test]
fn a_net_in_mixed_precision_is_exact_for_its_own_rounded_energy() {
    let teacher = Mixture::new(&[vec![-1.5, 0.0], vec![1.5, 0.5]], &[0.3, 0.7]).unwrap();
    let data = teacher.sample(2_000, &mut Rng::new(1)).to_kind(Kind::Float);
    let mut net = Mlp::new(2, &[32, 32], 2.0, 0, Kind::Float, Device::Cpu).unwrap().mixed();
    let log_z = |net: &Mlp| {
        let (side, reach) = (600, 12.0);
        let line = Tensor::linspace(-reach, reach, side, (Kind::Float, Device::Cpu));
        let grid = Tensor::stack(&Tensor::meshgrid(&[&line, &line]), -1).view([-1, 2]);
        let u = tch::no_grad(|| net.energy(&grid)).to_kind(Kind::Double);
        (-u).logsumexp(0, false).double_value(&[]) + 2.0 * (2.0 * reach / (side - 1) as f64).ln()
    };
    let before = log_z(&net);
    let trainer = Trainer::new(Ula::new(0.05), Method::Jarzynski { ess_min: 0.5 });
    let run =
        trainer.walkers(1_500).steps(200).optim(Optim::Adam).lr(3e-2).seed(3).quiet().train(&mut net, &data).unwrap();
    let (exact, z) = (log_z(&net), run.log_z().unwrap());
    assert!(z_of(&z, exact).abs() < FAR, "log Z {z}, by quadrature {exact}");
    assert!(z_of(&z, before).abs() > FAR, "weights that do not follow θ would pass");
    // the same parameters in f32 are another energy, by about the rounding of bfloat16
    let mut full = Mlp::new(2, &[32, 32], 2.0, 0, Kind::Float, Device::Cpu).unwrap();
    full.vars_mut().copy(net.vars()).unwrap();
    let gap = (full.energy(&data) - net.energy(&data)).abs().max().double_value(&[]);
    assert!(gap > 1e-4 && gap < 0.3, "{gap}");
    assert!(net.energy(&data).kind() == Kind::Float && run.walkers.log_weights().kind() == Kind::Double);
}

#[test]
fn a_convolution_in_mixed_precision_is_the_same_net_within_its_rounding() {
    let net = || Cnn::new(12, &[4, 6, 6, 8], 1.0, 1, Kind::Float, Device::Cpu).unwrap();
    let (mut full, mut mixed) = (net(), net().mixed());
    for net in [&mut full, &mut mixed] {
        let mut rng = Rng::new(2);
        tch::no_grad(|| {
            let all = net.vars_mut().variables();
            let mut named: Vec<_> = all.into_iter().collect();
            named.sort_by(|a, b| a.0.cmp(&b.0));
            named
                .into_iter()
                .for_each(|(_, mut p)| p.copy_(&(&p + rng.normal(&p.size(), Kind::Float, Device::Cpu) * 0.3)));
        });
    }
    let x = Rng::new(3).normal(&[50, 144], Kind::Float, Device::Cpu);
    let (a, b) = (full.evaluate(&x), mixed.evaluate(&x));
    let well = x.square().sum_dim_intlist(-1, false, Kind::Float) * 0.5;
    let share = |a: &Tensor, b: &Tensor| ((a - b).norm() / a.norm()).double_value(&[]);
    let (net, rounded) = (&a.u - &well, &b.u - &well);
    // eight bits of a number, a few hundred of them in each sum
    let (u, g) = (share(&net, &rounded), share(&(a.grad() - &x), &(b.grad() - &x)));
    assert!(u > 1e-5 && u < 0.02 && g > 1e-4 && g < 0.05, "{u:e} {g:e}");
}
