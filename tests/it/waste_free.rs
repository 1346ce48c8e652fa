//! Check waste-free sequential Monte Carlo: unbiased Ẑ, error bars that hold, the length of chains, and twins that must fail.

use crate::common;

use common::{FAR, worst, z_of};
use jarzynski::kernel::{Invariant, Transition, Ula};
use jarzynski::model::{Gaussian, Mixture};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::transport::autocorrelation_time;
use jarzynski::{Base, Energy, Escorted, Evaluation, Geometric, Mala, Reversed, Rng, Transport};

type Modes = Geometric<Gaussian, Mixture>;

fn modes() -> Modes {
    let means = [vec![-1.0, 0.0], vec![1.5, 1.0]];
    let target = Mixture::with_sigma(&means, &[0.3, 0.7], &[0.6, 0.8], Kind::Double, Device::Cpu).unwrap();
    Geometric { base: Gaussian::new(&[0.0; 2], &[2.0; 2]).unwrap(), target }
}

fn transport(seed: u64) -> Transport<Reversed<Mala>> {
    Transport::new(Reversed::new(Mala::new(0.4)), 6, 1_000, seed).waste_free(10).quiet()
}

/// ULA's move under the promise of an invariant kernel, which it does not keep.
#[derive(Debug)]
struct Liar(f64);

impl<E: Energy + ?Sized> Invariant<E> for Liar {
    fn sweep(&self, u: &E, at: &Evaluation, rng: &mut Rng) -> Transition {
        let noise = rng.normal(&at.x.size(), at.x.kind(), at.x.device());
        let y = &at.x - at.grad() * self.0 + noise * (2.0 * self.0).sqrt();
        let evaluation = u.evaluate(&y);
        Transition { cost: Default::default(), acceptance: Tensor::from(1.0), evaluation }
    }
}

#[test]
fn ratios_are_unbiased_and_bars_hold() {
    let (path, runs) = (modes(), 300);
    let exact = path.target.log_z();
    let (mut ratios, mut pulls, mut means) = (vec![], vec![], vec![]);
    for seed in 0..runs {
        let run =
            Transport::new(Reversed::new(Mala::new(0.4)), 5, 2_000, seed).waste_free(10).quiet().run(&path).unwrap();
        let z = run.walkers.log_z();
        ratios.push((z.value - exact).exp());
        pulls.push((z.value - exact) / z.se);
        let mean = run.walkers.mean(&run.walkers.x().select(1, 0)).unwrap();
        means.push((mean.value - 0.75) / mean.se);
    }
    assert!(z_of(&ratios, 1.0).abs() < FAR, "{:?}", z_of(&ratios, 1.0));
    // 95 %, less what bars lose that are estimates themselves; a bar that is withheld is no bar
    for (name, pulls) in [("log Z", pulls), ("E x", means)] {
        let known: Vec<f64> = pulls.into_iter().filter(|z| z.is_finite()).collect();
        let covered = known.iter().filter(|z| z.abs() < 1.96).count() as f64 / known.len() as f64;
        assert!(known.len() > 200 && (0.88..0.99).contains(&covered), "{name}: {covered} of {}", known.len());
    }
    let wrong: Vec<f64> = (0..40)
        .map(|seed| {
            let kernel = Reversed::new(Liar(0.4));
            let run = Transport::new(kernel, 6, 1_000, seed).waste_free(10).quiet().run(&path).unwrap();
            (run.walkers.log_z().value - exact).exp()
        })
        .collect();
    assert!(z_of(&wrong, 1.0).abs() > FAR, "a kernel that is not invariant: {}", z_of(&wrong, 1.0));
}

#[test]
fn bars_that_ignore_chains_are_too_short() {
    let path = modes();
    // two steps, so that one resampling is between them; chains that hardly move
    let (mut ours, mut naive) = (vec![], vec![]);
    for seed in 0..150 {
        let slow = Transport::new(Reversed::new(Mala::new(0.01)), 2, 2_000, seed).waste_free(10).quiet();
        let walkers = slow.run(&path).unwrap().walkers;
        let mean = walkers.mean(&walkers.x().select(1, 0)).unwrap();
        let off = mean.value - 0.75;
        ours.push((off / mean.se).powi(2));
        // the delta method, as if all states were independent
        let parts = walkers.weights() * (walkers.x().select(1, 0) - mean.value);
        naive.push(off * off / parts.square().sum(Kind::Double).double_value(&[]));
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (ours, naive) = (mean(&ours), mean(&naive));
    assert!((0.6..1.7).contains(&ours) && naive > 3.0 * ours, "mean squares of pulls: {ours}, {naive}");
}

#[test]
fn kernels_with_weights_of_their_own_stay_exact() {
    let path = modes();
    let z: Vec<f64> = (0..60)
        .map(|seed| {
            let run = Transport::new(Ula::new(0.05), 6, 1_000, seed).waste_free(5).quiet().run(&path).unwrap();
            (run.walkers.log_z().value - path.target.log_z()).exp()
        })
        .collect();
    assert!(z_of(&z, 1.0).abs() < FAR);
}

#[test]
fn evaluations_are_counted_and_runs_are_reproduced() {
    let path = modes();
    let (run, same) = (transport(3).run(&path).unwrap(), transport(3).run(&path).unwrap());
    assert!(run.walkers.log_weights() == same.walkers.log_weights());
    // the start and six reweightings of all walkers, and nine moves of a hundred at five times
    let forward: f64 = run.column("forward").unwrap().iter().sum();
    assert_eq!(forward, 7.0 * 1_000.0 + 5.0 * 9.0 * 100.0);
    let dir = tempfile::tempdir().unwrap();
    let part = jarzynski::Checkpointing::new(dir.path()).pause_after_steps(3);
    assert!(!transport(3).checkpointing(part).run(&path).unwrap().finished());
    let rest = transport(3).resume_or_start(dir.path()).run(&path).unwrap();
    assert!(rest.walkers.log_weights() == run.walkers.log_weights());
    assert!(rest.walkers.log_z().se.to_bits() == run.walkers.log_z().se.to_bits());
}

#[test]
fn chains_are_as_long_as_their_memory() {
    let (chains, length, a) = (400, 400, 0.8f64);
    let noise = Rng::new(1).normal(&[chains, length], Kind::Double, Device::Cpu);
    let mut states = vec![noise.select(1, 0)];
    for l in 1..length {
        states.push(&states[l as usize - 1] * a + noise.select(1, l) * (1.0 - a * a).sqrt());
    }
    let time = autocorrelation_time(&Tensor::stack(&states, 1)).unwrap();
    assert!((time / ((1.0 + a) / (1.0 - a)) - 1.0).abs() < 0.1, "{time} for {}", (1.0 + a) / (1.0 - a));
    assert!(autocorrelation_time(&Tensor::ones([3, 5], (Kind::Double, Device::Cpu))).is_err());
    let path = modes();
    let chosen = |h| {
        let fixed = Transport::new(Reversed::new(Mala::new(h)), 6, 1_000, 0).quiet();
        fixed.waste_free_adapted(&path, 50).unwrap().chain.unwrap()
    };
    let (fast, slow) = (chosen(0.5), chosen(0.01));
    assert!(fast < slow && slow == 50 && 1_000 % fast == 0, "{fast} {slow}");
    let run = transport(0).run(&path).unwrap();
    let z = [z_of(&run.walkers.log_z(), path.target.log_z())];
    assert!(worst(&z) < FAR);
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let path = modes();
    let refused = |t: Transport<Reversed<Mala>>| t.run(&path).unwrap_err().to_string();
    assert!(refused(transport(0).waste_free(7)).starts_with("chain = 7"));
    assert!(refused(transport(0).waste_free(1)).starts_with("chain = 1"));
    assert!(refused(transport(0).ess_min(0.5)).starts_with("ess_min = 0.5"));
    assert!(refused(transport(0).plain()).starts_with("weighted = false"));
    let e = transport(0).reverse(&path, &path.target.sample(10, &mut Rng::new(0))).unwrap_err().to_string();
    assert!(e.starts_with("chain = 10") || e.starts_with("chain"), "{e}");
    let flow =
        jarzynski::model::Interpolant::new(&[vec![-2.0, 0.0], vec![2.0, 1.0]], &[0.3, 0.7], &[0.5, 0.7]).unwrap();
    let e = Transport::new(Escorted::new(0.5), 6, 100, 0).waste_free(10).quiet().run(&flow).unwrap_err().to_string();
    assert!(e.contains("moves only while time passes"), "{e}");
}
