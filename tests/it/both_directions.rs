//! Check what tells that modes are missing: the ESS by draws, evidence bounds, coverage by exact draws, masses of modes.

use crate::common;

use common::{FAR, z_of};
use jarzynski::model::{Gaussian, Mixture};
use jarzynski::tch::{Device, Kind};
use jarzynski::transport::{Bracket, ReverseStart};
use jarzynski::{Base, Geometric, Mala, Reversed, Rng, Transport, Walkers};

const S: f64 = 0.7;

/// One step from N(0, 1) to N(0, .7²), which is importance sampling.
fn one_step(seed: u64) -> Bracket {
    let path = Geometric { base: Gaussian::new(&[0.0], &[1.0]).unwrap(), target: Gaussian::new(&[0.0], &[S]).unwrap() };
    let start = ReverseStart::exact(&path.target.sample(500, &mut Rng::new(seed).split(1)));
    Transport::new(Reversed::new(Mala::new(0.3)), 1, 500, seed).quiet().bracket(&path, &start).unwrap()
}

#[test]
fn both_ess_and_both_bounds_are_those_of_the_closed_form() {
    let found: Vec<Bracket> = (0..60).map(one_step).collect();
    let log_z = (S * (2.0 * std::f64::consts::PI).sqrt()).ln();
    // E (ρ_1/ρ_0)² under ρ_0 is 1/(s√(2 − s²))
    let ess = S * (2.0 - S * S).sqrt();
    let all = |of: &dyn Fn(&Bracket) -> f64| found.iter().map(of).collect::<Vec<f64>>();
    // ratios of means are biased by O(1/n), here below a standard error
    for (name, values, exact) in [
        ("ESS", all(&|b| b.ess()), ess),
        ("ESS by draws", all(&|b| b.ess_by_draws()), ess),
        ("ELBO", all(&|b| b.elbo().value), log_z - S.ln() - 0.5 * (1.0 / (S * S) - 1.0)),
        ("EUBO", all(&|b| b.eubo().value), log_z - S.ln() + 0.5 * (S * S - 1.0)),
    ] {
        assert!(z_of(&values, exact).abs() < FAR, "{name}: {}", z_of(&values, exact));
        assert!(z_of(&values, exact * 1.05 + 0.02).abs() > FAR, "{name} is not told from another value");
    }
    let pulls: f64 =
        found.iter().map(|b| ((b.eubo().value - (log_z - S.ln() + 0.5 * (S * S - 1.0))) / b.eubo().se).powi(2)).sum();
    assert!((0.5..2.0).contains(&(pulls / 60.0)));
    for b in &found {
        assert!(b.elbo().value < b.lower.value && b.eubo().value > b.upper.value);
    }
}

/// From one mode to two: walkers never see the other.
fn blind() -> (Geometric<Gaussian, Mixture>, Bracket, Walkers) {
    let target = Mixture::with_sigma(&[vec![-10.0], vec![10.0]], &[0.5, 0.5], &[1.0; 2], Kind::Double, Device::Cpu);
    let path = Geometric { base: Gaussian::new(&[-10.0], &[1.2]).unwrap(), target: target.unwrap() };
    let start = ReverseStart::exact(&path.target.sample(600, &mut Rng::new(1)));
    let transport = Transport::new(Reversed::new(Mala::new(0.5)), 20, 600, 0).quiet();
    let bracket = transport.bracket(&path, &start).unwrap();
    let walkers = transport.run(&path).unwrap().walkers;
    (path, bracket, walkers)
}

#[test]
fn a_missed_mode_is_seen_by_draws_alone() {
    let (path, found, walkers) = blind();
    assert!(found.ess() > 0.9, "{}", found.ess());
    assert!(found.ess_by_draws() < 1e-3 && found.eubo().value > path.target.log_z() + 5.0, "{}", found.ess_by_draws());
    let draws = path.target.sample(600, &mut Rng::new(2));
    let coverage = walkers.coverage(&draws, 5, &mut Rng::new(3)).unwrap();
    assert!((coverage.share - 0.5 * coverage.expected).abs() < 0.08, "{coverage:?}");
    let modes = path.target.responsibilities(walkers.x()).unwrap();
    let (masses, entropy) = walkers.mode_masses(&modes).unwrap();
    assert!(masses[0].value > 0.999 && entropy < 0.01);
    let full = Walkers::start_from(&path.target, &path.target, 600, false, &mut Rng::new(4)).unwrap();
    let (masses, entropy) = full.mode_masses(&path.target.responsibilities(full.x()).unwrap()).unwrap();
    assert!(z_of(&masses[0], 0.5).abs() < FAR && entropy > 0.99);
}

#[test]
fn coverage_of_equal_distributions_is_as_expected() {
    let normal = Gaussian::new(&[0.0; 2], &[1.0; 2]).unwrap();
    let (mut shares, mut expected) = (vec![], 0.0);
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let walkers = Walkers::start_from(&normal, &normal, 150, false, &mut rng).unwrap();
        let found = walkers.coverage(&normal.sample(150, &mut rng), 2, &mut rng).unwrap();
        shares.push(found.share);
        expected = found.expected;
    }
    assert!(z_of(&shares, expected).abs() < FAR, "{}", z_of(&shares, expected));
    assert!(z_of(&shares, expected - 0.03).abs() > FAR);
    let walkers = Walkers::start_from(&normal, &normal, 20, false, &mut Rng::new(0)).unwrap();
    let refused = |x: &jarzynski::tch::Tensor, k| walkers.coverage(x, k, &mut Rng::new(0)).unwrap_err().to_string();
    assert!(refused(&normal.sample(5, &mut Rng::new(0)), 5).starts_with("k = 5"));
    assert!(refused(&normal.sample(5, &mut Rng::new(0)), 0).starts_with("k = 0"));
    assert!(refused(&normal.sample(5, &mut Rng::new(0)).narrow(1, 0, 1), 1).starts_with("draws"));
    assert!(walkers.mode_masses(&normal.sample(5, &mut Rng::new(0))).is_err());
}
