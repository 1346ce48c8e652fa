//! Check the predicted variance against closed forms and measured variances, and the choice that follows from it.

use crate::common::{FAR, z_of};
use jarzynski::io::frame;
use jarzynski::model::{Coupling, GaussianPath, Interpolant, Interpolation};
use jarzynski::tch::{Kind, Tensor};
use jarzynski::{Base, CostModel, Escorted, Evaluation, Flow, Noise, Path, Transport, Tune, VarianceModel, tune};

fn gaussian(coupling: Coupling) -> GaussianPath {
    GaussianPath::new((&[0.0], &[1.0]), (&[1.0], &[0.4]), coupling).unwrap()
}

fn mixture() -> Interpolant {
    Interpolant::new(&[vec![-1.5], vec![1.5]], &[0.4, 0.6], &[0.6, 0.8]).unwrap()
}

#[test]
fn the_pilot_meets_closed_forms() {
    // Straight lines at constant speed: no acceleration, J_b = ṡ/s.
    let model = VarianceModel::pilot(&gaussian(Coupling::Straight), 10, 500, 1).unwrap();
    for (t, stretch) in model.t.iter().zip(&model.stretch) {
        assert!((stretch - (0.6 / (1.0 - 0.6 * t)).powi(2)).abs() < 1e-12);
    }
    assert!(model.ia() < 1e-6, "{}", model.ia());
    for (t, curvature) in model.t.iter().zip(&model.curvature) {
        assert!((curvature * (1.0 - 0.6 * t).powi(2) - 1.0).abs() < 1e-4, "λ = 1/s²");
    }
    // Independent coupling: x(t) = t + √v ξ with v = (1−t)² + .16 t², so that the acceleration is (√v)″ ξ.
    let n = 4_000;
    let model = VarianceModel::pilot(&gaussian(Coupling::Independent(Interpolation::Linear)), 10, n, 1).unwrap();
    for (t, acceleration) in model.t.iter().zip(&model.acceleration) {
        let v = (1.0 - t).powi(2) + 0.16 * t * t;
        let (v1, v2) = (-2.0 * (1.0 - t) + 0.32 * t, 2.32);
        let exact = (0.5 * v2 / v.sqrt() - 0.25 * v1 * v1 / v.powf(1.5)).powi(2);
        // the mean of n squares of N(0, 1) numbers
        let z = z_of(&(acceleration / exact, (2.0 / n as f64).sqrt()), 1.0);
        assert!(z.abs() < FAR, "t = {t}: {acceleration}, exact {exact}");
    }
}

#[test]
fn the_model_predicts_the_variance_of_prop_2() {
    let path = mixture();
    let model = VarianceModel::pilot(&path, 12, 2_000, 0).unwrap();
    let measure = |steps: usize, eps: f64| {
        let v: Vec<f64> = (0..4)
            .map(|seed| {
                let run = Transport::new(Escorted::new(eps), steps, 4_000, seed).every(steps).run(&path).unwrap();
                run.walkers.log_weights().var(true).double_value(&[])
            })
            .collect();
        frame::mean_se(&v).0
    };
    for (steps, eps) in [(64, 0.1), (64, 0.5), (128, 0.5), (128, 0.05)] {
        let (measured, predicted) = (measure(steps, eps), model.variance(1.0 / steps as f64, eps));
        assert!((predicted / measured).ln().abs() < 0.15, "K = {steps}, ε = {eps}: {measured} against {predicted}");
    }
    // What it is for: where it says that noise is too large or too small, it is.
    let best = model.best_noise(1.0 / 32.0);
    let (least, little, much) = (measure(32, best), measure(32, best / 30.0), measure(32, best * 12.0));
    assert!(least < 0.7 * little && least < 0.7 * much, "{least} at ε = {best}; {little}, {much}");
    let Noise::Knots(knots) = model.best_schedule(1.0 / 32.0) else { panic!("a schedule is a list of knots") };
    assert!(knots.len() == 12 && knots.iter().all(|k| k[1] > 0.0));
}

#[test]
fn the_choice_reaches_what_was_asked() {
    let path = mixture();
    let best = tune(&path, 0.9, 3).unwrap();
    assert!(best.reached && best.ess >= 0.9, "{best:?}");
    let again = tune(&path, 0.9, 3).unwrap();
    assert_eq!((again.kernel, again.steps), (best.kernel.clone(), best.steps));
    // An independent run: as good as promised, up to the error of an ESS.
    let runs: Vec<f64> = (0..8)
        .map(|seed| Transport::new(best.kernel.clone(), best.steps, 2_000, 50 + seed).run(&path).unwrap().walkers.ess())
        .collect();
    let (ess, se) = frame::mean_se(&runs);
    assert!(ess > 0.9 - 5.0 * se - 0.01, "{ess} ± {se}");
    let bare = Tune::new(0.9, 3).schemes(&["escorted"]).run(&path).unwrap();
    assert!(bare.reached && bare.kernel.name() == "escorted" && bare.cost > best.cost);
    let names: Vec<&str> = bare.trials.get_column_names().iter().map(|c| c.as_str()).collect();
    assert_eq!(names, ["scheme", "steps", "noise", "eps", "ess", "cost"]);
    // Where a Jacobian costs nothing, and where it costs a fortune.
    let dear = CostModel { jacobian: 1e6, ..CostModel::counted(1) };
    assert_eq!(Tune::new(0.7, 3).cost_model(dear).run(&path).unwrap().kernel.name(), "escorted");
    assert!(CostModel::measured(&path, 1_000).unwrap().jacobian > 0.0);
}

#[test]
fn later_runs_reach_what_was_reported() {
    // modes far apart in three dimensions, and half of the walkers as aim: weights spread, and single runs say too much
    let path = Interpolant::new(&[vec![-3.0; 3], vec![3.0; 3]], &[0.4, 0.6], &[0.5, 0.7]).unwrap();
    for seed in 0..2 {
        let best = Tune::new(0.5, seed).schemes(&["escorted", "ode-euler"]).walkers(1_000).run(&path).unwrap();
        let later: Vec<f64> = (0..24)
            .map(|i| {
                let run = Transport::new(best.kernel.clone(), best.steps, 1_000, 900 + i).quiet().run(&path).unwrap();
                run.walkers.ess()
            })
            .collect();
        let (mean, _) = frame::mean_se(&later);
        let lower = |told: f64| later.iter().filter(|e| **e < told).count();
        println!(
            "{}, {} steps: told {:.3}, k̂ {:.2}, later {mean:.3}",
            best.kernel.name(),
            best.steps,
            best.ess,
            best.pareto_k
        );
        // that the 17 lowest of 8 + 24 exchangeable runs are all later ones has the probability C(24, 17)/C(32, 17) = 6e-4
        assert!(lower(best.ess) < 17 && mean > best.ess, "{best:?}: {later:?}");
        // reject twin: what the luckiest of eight runs has
        let lucky = later[..8].iter().fold(0.0, |a: f64, b| a.max(*b));
        assert!(lower(lucky) >= 17, "{lucky}: {later:?}");
        assert_eq!(best.warning.is_some(), best.pareto_k > 0.5);
        assert!(!best.reached || best.ess >= 0.5);
    }
}

/// A velocity that is far from solving the transport equation: no step is small enough.
struct Lost(Interpolant);

impl jarzynski::Differentiable for Lost {}

impl Path for Lost {
    fn base(&self) -> &dyn Base {
        self.0.base()
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        self.0.energy(t, x)
    }
    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        self.0.evaluate(t, x)
    }
}

impl Flow for Lost {
    fn velocity(&self, _t: f64, x: &Tensor) -> Tensor {
        x.zeros_like()
    }
}

#[test]
fn what_cannot_be_reached_is_said_and_bad_input_is_named() {
    let far = Tune { steps_max: 16, ..Tune::new(0.95, 0).schemes(&["ode-rk4", "escorted"]) };
    let tuned = far.run(&Lost(mixture())).unwrap();
    assert!(!tuned.reached && tuned.ess < 0.95, "{tuned:?}");
    let refused = |t: Tune, words: &str| {
        let text = t.run(&mixture()).unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    };
    refused(Tune::new(1.0, 0), "ess = 1");
    refused(Tune::new(f64::NAN, 0), "ess = NaN");
    refused(Tune::new(0.5, 0).walkers(10), "walkers = 10");
    refused(Tune::new(0.5, 0).schemes(&[]), "schemes = []");
    refused(Tune::new(0.5, 0).schemes(&["rk5"]), "scheme = rk5");
    refused(Tune { steps_max: 0, ..Tune::new(0.5, 0) }, "steps_max = 0");
    assert!(VarianceModel::pilot(&mixture(), 0, 10, 0).unwrap_err().to_string().contains("times = 0"));
    let sum = mixture().energy(0.5, &Tensor::zeros([1, 1], (Kind::Double, jarzynski::tch::Device::Cpu)));
    assert!(sum.double_value(&[0]).is_finite());
}
