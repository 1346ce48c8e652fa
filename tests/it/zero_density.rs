//! Run into walls, where U = +∞: weights there are exactly zero, and what is left is still exact.

use crate::common::{FAR, Measured, z_of};
use jarzynski::kernel::{Arrival, Mala, Move, Reversed, Ula};
use jarzynski::model::Gaussian;
use jarzynski::tch::{Kind, Tensor};
use jarzynski::{At, Base, Energy, Evaluation, Geometric, Kernel, Path, Rng, Run, Transport};

/// N(0, I) in the plane behind a wall that moves in from the left and stops at x_0 = ½.
#[derive(Debug)]
struct Wall {
    base: Gaussian,
    /// ∇U in the wall, in units of the Gaussian's.
    slope: f64,
    /// From which t on it stands.
    from: f64,
}

impl Wall {
    fn new(slope: f64, from: f64) -> Self {
        Wall { base: Gaussian::new(&[0.0, 0.0], &[1.0, 1.0]).unwrap(), slope, from }
    }

    fn inside(&self, t: f64, x: &Tensor) -> Tensor {
        let place = if t >= self.from { 4.5 * t - 4.0 } else { f64::NEG_INFINITY };
        x.select(1, 0).lt(place)
    }
}

impl jarzynski::Differentiable for Wall {}

impl Path for Wall {
    fn base(&self) -> &dyn Base {
        &self.base
    }
    fn energy(&self, t: f64, x: &Tensor) -> Tensor {
        let u = x.square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5;
        u.masked_fill(&self.inside(t, x), f64::INFINITY)
    }
    fn evaluate(&self, t: f64, x: &Tensor) -> Evaluation {
        let slope = x.where_self(&self.inside(t, x).logical_not().unsqueeze(-1), &(x * self.slope));
        Evaluation::new(x.shallow_clone(), self.energy(t, x), slope)
    }
}

/// The share of N(0, 1) above ½, and its mean there.
const SHARE: f64 = 0.308_537_538_725_986_9;
const MEAN: f64 = 0.352_065_326_764_299_5 / SHARE;

/// z-scores of Ẑ and of Ẑ times the mean of x_0, both unbiased, with standard errors from replicates.
fn z_scores<K: for<'a> Kernel<At<'a, Wall>> + Clone>(kernel: &K, path: &Wall, ess_min: f64) -> [f64; 2] {
    let log_z = (2.0 * std::f64::consts::PI).ln() + SHARE.ln();
    let (mut ratio, mut place) = (vec![], vec![]);
    for seed in 0..60 {
        let run = Transport::new(kernel.clone(), 20, 400, seed).ess_min(ess_min).run(path).unwrap();
        assert!(run.finished(), "{:?}", run.outcome);
        for name in ["energy_walkers", "log_z", "ess"] {
            assert!(run.column(name).unwrap().iter().all(|v| v.is_finite()), "{name}");
        }
        ratio.push((run.walkers.log_z().value - log_z).exp());
        place.push(ratio[ratio.len() - 1] * run.walkers.mean(&run.walkers.x().select(1, 0)).unwrap().value / MEAN);
    }
    [ratio, place].map(|v| z_of(&v, 1.0))
}

/// As it is, but with weights that are too large by a hundredth at every step.
#[derive(Debug, Clone)]
struct Generous(Reversed<Mala>);

impl Kernel<At<'_, Wall>> for Generous {
    fn forward(&self, u: &At<Wall>, at: &Evaluation, rng: &mut Rng) -> Move {
        let mut mv = self.0.forward(u, at, rng);
        mv.alpha = &mv.alpha + 0.01;
        mv
    }
    fn backward(&self, u: &At<Wall>, at: &Evaluation, mv: Move, rng: &mut Rng) -> Arrival {
        self.0.backward(u, at, mv, rng)
    }
}

#[test]
fn half_a_gaussian_is_found_behind_a_wall_and_wrong_weights_are_rejected() {
    let mala = Reversed::new(Mala::new(0.5));
    for (slope, ess_min) in [(f64::NAN, 0.0), (1.0, 0.5), (f64::NAN, 0.5), (0.0, 0.9)] {
        let z = z_scores(&mala, &Wall::new(slope, 1e-9), ess_min);
        println!("mala, slope {slope}, ess_min {ess_min}: {z:.2?}");
        assert!(z.iter().all(|z| z.abs() < FAR), "slope {slope}, ess_min {ess_min}: {z:?}");
    }
    for ess_min in [0.0, 0.5] {
        let z = z_scores(&Generous(mala), &Wall::new(1.0, 1e-9), ess_min);
        println!("generous, ess_min {ess_min}: {z:.2?}");
        assert!(z.iter().all(|z| *z > FAR), "{z:?}");
    }
}

#[test]
fn a_backward_density_that_reaches_into_the_wall_misses_what_would_come_from_there() {
    let kernel = Ula::new(0.1);
    // a wall that was not there before the last step: everything can come from everywhere
    let z = z_scores(&kernel, &Wall::new(1.0, 1.0), 0.0);
    println!("ula, at the end: {z:.2?}");
    assert!(z.iter().all(|z| z.abs() < FAR), "{z:?}");
    let z = z_scores(&kernel, &Wall::new(1.0, 1e-9), 0.0);
    println!("ula, on the way: {z:.2?}");
    assert!(z[0] < -FAR, "{z:?}");
}

#[test]
fn nothing_that_a_walker_without_weight_does_reaches_a_number() {
    let columns = |run: &Run| {
        let bits = |name| run.column(name).unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        ["energy_walkers", "log_z", "log_z_se", "ess"].map(bits)
    };
    let run = |slope| Transport::new(Ula::new(0.1), 20, 400, 1).run(&Wall::new(slope, 1e-9)).unwrap();
    let tame = run(0.0);
    for slope in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
        let wild = run(slope);
        assert!(wild.finished(), "{slope}: {:?}", wild.outcome);
        assert_eq!(columns(&wild), columns(&tame), "{slope}");
        assert!(wild.walkers.weights().equal(&tame.walkers.weights()), "{slope}");
    }
    let dead = tame.walkers.log_weights().eq(f64::NEG_INFINITY);
    assert!(dead.sum(Kind::Int64).int64_value(&[]) > 100);
    assert!(tame.walkers.weights().masked_select(&dead).max().double_value(&[]) == 0.0);
    // a pilot meets them too
    let adapted =
        Transport::new(Reversed::new(Mala::new(0.5)), 10, 400, 1).adapted(&Wall::new(f64::NAN, 1e-9), 40, 400);
    let times = adapted.unwrap().times.unwrap();
    assert!(times.windows(2).all(|t| t[0] < t[1]) && times.len() == 11, "{times:?}");
}

/// N(0, I) with a wall at x_0 = ½, as the end of a geometric path.
#[derive(Debug)]
struct Cut;

impl jarzynski::Differentiable for Cut {}

impl Energy for Cut {
    fn energy(&self, x: &Tensor) -> Tensor {
        let u = x.square().sum_dim_intlist(-1, false, None::<Kind>) * 0.5;
        u.masked_fill(&x.select(1, 0).lt(0.5), f64::INFINITY)
    }
}

#[test]
fn a_geometric_path_may_end_in_a_wall() {
    let exact = (2.0 * std::f64::consts::PI).ln() + SHARE.ln();
    let ratio: Vec<f64> = (0..60)
        .map(|seed| {
            let path = Geometric { base: Gaussian::new(&[0.0, 0.0], &[1.0, 1.0]).unwrap(), target: Cut };
            let run = Transport::new(Reversed::new(Mala::new(0.5)), 10, 400, seed).quiet().run(&path).unwrap();
            assert!(run.finished(), "{:?}", run.outcome);
            (run.walkers.log_z().value - exact).exp()
        })
        .collect();
    assert!(z_of(&ratio, 1.0).abs() < FAR, "{:?}", ratio.value_and_se());
    // without its wall the mean would be that of the whole plane
    assert!(z_of(&ratio, 1.0 / SHARE).abs() > FAR);
}
