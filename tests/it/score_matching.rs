//! Check denoising score matching: what it learns, what it cannot see, and that it goes on where it was interrupted.

use jarzynski::data::Synthetic;
use jarzynski::model::{Mixture, Mlp, MlpShape};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{
    Checkpointing, Energy, Mala, Method, Model, Optim, Reversed, Rng, Schedule, ScoreMatching, Settings, Trainer, Ula,
};

/// Modes at ∓8, whose overlap no sample meets, with masses .3 and .7 and standard deviation .8; with noise .6 it is 1, that of the model's modes.
fn modes(n: usize) -> Tensor {
    let law = Mixture::with_sigma(&[vec![-8.0], vec![8.0]], &[0.3, 0.7], &[0.8, 0.8], Kind::Double, Device::Cpu);
    law.unwrap().sample(n, &mut Rng::new(1))
}

fn student() -> Mixture {
    Mixture::new(&[vec![-7.0], vec![7.0]], &[0.5, 0.5]).unwrap()
}

/// Distance of the means, and of the mass on the left, from what the data say, in standard errors of n data points.
fn z_scores(model: &Mixture, x: &Tensor) -> [f64; 3] {
    let n = x.size()[0] as f64;
    let left = x.lt(0.0).to_kind(Kind::Double);
    let mass = left.mean(Kind::Double).double_value(&[]);
    let mean = |w: &Tensor| (x * w).sum(Kind::Double).double_value(&[]) / w.sum(Kind::Double).double_value(&[]);
    let found = |j: i64| model.means().double_value(&[j, 0]);
    [
        (found(0) - mean(&left)) / (1.0 / (n * mass)).sqrt(),
        (found(1) - mean(&(left.ones_like() - &left))) / (1.0 / (n * (1.0 - mass))).sqrt(),
        (model.masses().double_value(&[0]) - mass) / (mass * (1.0 - mass) / n).sqrt(),
    ]
}

#[test]
fn it_finds_where_the_modes_are_and_not_how_much_they_weigh() {
    let data = modes(4_000);
    let mut matched = student();
    let matching =
        ScoreMatching::denoising(0.6).steps(400).lr(0.1).schedule(Schedule::Cosine { end: 0.0 }).progress(0.0);
    assert!(matching.train(&mut matched, &data).unwrap().finished());
    let [left, right, mass] = z_scores(&matched, &data);
    assert!(left.abs() < 5.0 && right.abs() < 5.0, "the places of the modes: {left:.1}, {right:.1}");
    assert!(mass.abs() > 5.0, "the loss is blind to masses, yet they came out {mass:.1} standard errors off");
    let mut sampled = student();
    let settings = Settings {
        walkers: 4_000,
        steps: 400,
        lr: 0.1,
        optim: Optim::Adam,
        schedule: Schedule::Cosine { end: 0.0 },
        data_noise: 0.6.into(),
        stratified: true,
        progress: 0.0,
        ..Default::default()
    };
    let trainer = Trainer::new(Ula::new(0.1), Method::Jarzynski { ess_min: 0.5 }).settings(settings);
    assert!(trainer.train(&mut sampled, &data).unwrap().finished());
    let likelihood = z_scores(&sampled, &data);
    // two samples of 4,000: the data and the walkers
    assert!(likelihood.iter().all(|z| z.abs() < 5.0 * 2f64.sqrt()), "{likelihood:?}");
}

/// |∇U − s*|² at each row, s* the gradient of the energy of the data with noise.
fn errors(u: &impl Energy, exact: &Mixture, x: &Tensor) -> Tensor {
    let slope = |e: &dyn Energy| e.evaluate(x).grad().to_kind(Kind::Double);
    (slope(u) - slope(exact)).square().sum_dim_intlist(-1, false, Kind::Double)
}

#[test]
fn a_net_learns_the_slopes_that_maximum_likelihood_learns() {
    let (sigma, weights) = (0.3, vec![1.0, 2.0, 3.0, 2.0]);
    let toy = Synthetic::Gaussians { weights: weights.clone() };
    let sample = |seed| toy.sample(2_000, &mut Rng::new(seed)).unwrap().x.to_kind(Kind::Float);
    let (data, fresh) = (sample(1), sample(2));
    let means: Vec<Vec<f64>> = (0..4)
        .map(|j| {
            let angle = std::f64::consts::FRAC_PI_2 * j as f64;
            vec![2.5 * angle.cos(), 2.5 * angle.sin()]
        })
        .collect();
    let wide = (0.25f64 * 0.25 + sigma * sigma).sqrt();
    let exact = Mixture::with_sigma(&means, &weights, &[wide; 4], Kind::Float, Device::Cpu).unwrap();
    let noisy = &fresh + Rng::new(3).normal(&fresh.size(), Kind::Float, Device::Cpu) * sigma;
    let net =
        || Mlp::new(2, &MlpShape { widths: vec![64, 64], sigma: 3.0, seed: 0 }, Kind::Float, Device::Cpu).unwrap();
    let before = errors(&net(), &exact, &noisy);
    let mut matched = net();
    let matching = ScoreMatching::denoising(sigma).steps(800).batch(500).lr(5e-3).every(100).progress(0.0);
    matching.schedule(Schedule::Cosine { end: 0.0 }).train(&mut matched, &data).unwrap();
    let settings = Settings {
        walkers: 500,
        monitor: Some(0),
        steps: 300,
        batch: Some(500),
        lr: 5e-3,
        optim: Optim::Adam,
        data_noise: sigma.into(),
        every: 100,
        progress: 0.0,
        ..Default::default()
    };
    let mut sampled = net();
    let kernel = Reversed::new(Mala::new(0.05));
    Trainer::new(kernel, Method::Jarzynski { ess_min: 0.5 }).settings(settings).train(&mut sampled, &data).unwrap();
    let (after, likelihood) = (errors(&matched, &exact, &noisy), errors(&sampled, &exact, &noisy));
    let z = |d: &Tensor| {
        let n = d.size()[0] as f64;
        d.mean(Kind::Double).double_value(&[]) / (d.var(true).double_value(&[]) / n).sqrt()
    };
    assert!(z(&(&before - &after)) > 5.0, "training brings the slopes nearer");
    assert!(z(&(&likelihood - &after)) > 5.0, "nearer than {} updates by sampling do", 300);
}

#[test]
fn it_goes_on_bit_for_bit() {
    let data = modes(300);
    let matching = |steps| ScoreMatching::denoising(0.6).steps(steps).batch(128).lr(0.05).progress(0.0);
    let whole = matching(20).train(&mut student(), &data).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let part = Checkpointing::new(dir.path()).pause_after_steps(7);
    assert!(!matching(20).checkpointing(part).train(&mut student(), &data).unwrap().finished());
    let rest = Checkpointing::resume_or_start(dir.path());
    let run = matching(20).checkpointing(rest).train(&mut student(), &data).unwrap();
    let bits =
        |run: &jarzynski::Run| run.column("loss_denoising").unwrap().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert!(run.finished() && bits(&run) == bits(&whole));
    let other = matching(20).seed(1).train(&mut student(), &data).unwrap();
    assert!(bits(&other) != bits(&whole), "another seed");
}

#[test]
fn bad_input_is_refused_by_name() {
    let data = modes(100);
    let refused = |matching: ScoreMatching| matching.train(&mut student(), &data).unwrap_err().to_string();
    assert!(refused(ScoreMatching::denoising(0.0)).starts_with("sigma = 0"));
    assert!(refused(ScoreMatching::denoising(0.1).batch(0)).starts_with("batch = 0"));
    assert!(refused(ScoreMatching::denoising(0.1).clip(-1.0)).starts_with("clip = -1"));
    let wide = Tensor::zeros([10, 3], (Kind::Double, Device::Cpu));
    let e = ScoreMatching::denoising(0.1).train(&mut student(), &wide).unwrap_err().to_string();
    assert!(e.starts_with("data has shape [10, 3]"), "{e}");
    let mut run = ScoreMatching::denoising(0.1).lr(1e300).steps(50).progress(0.0).start(student(), &data).unwrap();
    while run.step().unwrap().is_some() {}
    let (run, model) = run.finish().unwrap();
    assert!(!run.finished() && run.stats.height() > 0, "{:?}", run.outcome);
    assert!(model.vars().len() == 2);
}

#[test]
fn a_gradient_that_is_missing_is_not_clipped() {
    // ∇U does not depend on the bias of a net's last layer, whose gradient is therefore undefined
    let net = || Mlp::new(1, &MlpShape { widths: vec![8], ..Default::default() }, Kind::Double, Device::Cpu).unwrap();
    let norms = |clip: f64| {
        let run = ScoreMatching::exact().steps(5).clip(clip).quiet().train(&mut net(), &modes(50)).unwrap();
        assert!(run.finished(), "{:?}", run.outcome);
        run.column("grad_norm").unwrap()[..5].to_vec()
    };
    let (bounded, free) = (norms(1e-6), norms(1e6));
    assert!(free[0] > 1e-6 && free[0] == bounded[0] && free[4] != bounded[4], "{bounded:?} {free:?}");
}
