//! Draw the pictures of the page on concepts: `cargo run --example concepts -- docs/figures`.

use jarzynski::model::{Interpolant, Mixture};
use jarzynski::plot::{Figure, Panel};
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::{Escorted, Method, Result, Rng, Trainer, Ula, transport};

fn main() -> Result<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "results/concepts".into());
    std::fs::create_dir_all(&dir).map_err(|e| jarzynski::Error::io(&dir, e))?;
    weights()?.save(&dir, "concept-weights")?;
    ess()?.save(&dir, "concept-ess")?;
    trust_region()?.save(&dir, "concept-trust-region")?;
    log_z()?.save(&dir, "concept-log-z")?;
    ladder()?.save(&dir, "concept-ladder")
}

fn numbers(t: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(t.to_kind(Kind::Double).contiguous().view(-1)).unwrap_or_default()
}

fn grid(from: f64, to: f64, n: usize) -> Vec<f64> {
    (0..=n).map(|i| from + (to - from) * i as f64 / n as f64).collect()
}

fn normal(x: f64, mean: f64, sigma: f64) -> f64 {
    (-0.5 * ((x - mean) / sigma).powi(2)).exp() / (sigma * std::f64::consts::TAU.sqrt())
}

/// A density with two modes of mass .3 and .7, at −2 and 2, blurred by noise of standard deviation `sigma`.
fn two_modes(x: f64, sigma: f64) -> f64 {
    let spread = (0.25 + sigma * sigma).sqrt();
    0.3 * normal(x, -2.0, spread) + 0.7 * normal(x, 2.0, spread)
}

/// Walkers that took too few steps, as they stand and with their weights.
fn weights() -> Result<Figure> {
    let path = Interpolant::new(&[vec![-2.0], vec![2.0]], &[0.3, 0.7], &[0.5, 0.5])?;
    let run = transport(Escorted::new(2.0), &path, 6, 20_000, 0)?;
    let (x, w) = (numbers(run.walkers.x()), numbers(&run.walkers.weights()));
    let equal = vec![1.0 / x.len() as f64; x.len()];
    let xs = grid(-5.0, 5.0, 300);
    let exact: Vec<f64> = xs.iter().map(|x| two_modes(*x, 0.0)).collect();
    let panel = |title: &str, w: &[f64]| {
        let panel = Panel::new(title).x("x").y("density").xlim(-5.0, 5.0).ylim(0.0, 0.65);
        panel.weighted_histogram("walkers", &x, w, 80).dashed("target", &xs, &exact)
    };
    let title = "Six steps from N(0, 1) to two modes";
    Ok(Figure::new(900, 340)
        .title(title)
        .columns(2)
        .panel(panel("without weights", &equal))
        .panel(panel("with weights", &w)))
}

/// What a spread of the log-weights costs, and how resampling makes weights equal again.
fn ess() -> Result<Figure> {
    let spread = grid(0.0, 2.5, 100);
    let law: Vec<f64> = spread.iter().map(|s| (-s * s).exp()).collect();
    let mut rng = Rng::new(1);
    let at = grid(0.25, 2.5, 9);
    let measured: Vec<f64> = at
        .iter()
        .map(|s| {
            let w: Vec<f64> =
                numbers(&rng.normal(&[1_000], Kind::Double, Device::Cpu)).iter().map(|z| (s * z).exp()).collect();
            w.iter().sum::<f64>().powi(2) / w.iter().map(|w| w * w).sum::<f64>() / w.len() as f64
        })
        .collect();
    let left = Panel::new("normal log-weights").x("standard deviation of the log-weights").y("ESS / N").ylim(0.0, 1.05);
    let left = left.line("e^{−variance}", &spread, &law).points("1,000 walkers", &at, &measured);
    let data = Mixture::new(&[vec![-3.0, 0.0], vec![3.0, 0.0]], &[0.3, 0.7])?.sample(4_000, &mut Rng::new(2));
    let mut model = Mixture::new(&[vec![-1.5, 0.0], vec![1.5, 0.0]], &[0.5, 0.5])?;
    let method = Method::Jarzynski { ess_min: 0.5 };
    let run =
        Trainer::new(Ula::new(0.1), method).walkers(4_000).steps(300).lr(0.05).quiet().train(&mut model, &data)?;
    let right = Panel::new("a training that resamples at .5").x("update").y("ESS / N").ylim(0.0, 1.05);
    let right = right.line("before resampling", &run.column("step")?, &run.column("ess")?).hline("ess_min", 0.5);
    Ok(Figure::new(900, 340).columns(2).panel(left).panel(right))
}

/// The conditional ESS of an update against the part of it that is taken.
fn trust_region() -> Result<Figure> {
    // walkers in N(0, I), 20 dimensions; the whole step multiplies the precision by 1.6
    let squares = numbers(&Rng::new(3).normal(&[20_000, 20], Kind::Double, Device::Cpu).square().sum_dim_intlist(
        -1,
        false,
        None::<Kind>,
    ));
    let delta = |part: f64| squares.iter().map(move |s| -0.3 * part * s);
    let mean = |v: &mut dyn Iterator<Item = f64>| v.sum::<f64>() / squares.len() as f64;
    let conditional =
        |part: f64| mean(&mut delta(part).map(f64::exp)).powi(2) / mean(&mut delta(part).map(|d| (2.0 * d).exp()));
    let center = mean(&mut delta(1.0));
    let variance = mean(&mut delta(1.0).map(|d| (d - center).powi(2)));
    let parts = grid(0.0, 1.0, 100);
    let exact: Vec<f64> = parts.iter().map(|p| conditional(*p)).collect();
    let second: Vec<f64> = parts.iter().map(|p| 1.0 / (1.0 + p * p * variance)).collect();
    let taken = parts.iter().copied().filter(|p| conditional(*p) >= 0.95).fold(0.0, f64::max);
    let panel = Panel::new("").x("part of the optimiser's step").y("conditional ESS").ylim(0.0, 1.05);
    let panel = panel.line("conditional ESS", &parts, &exact).dashed("to second order", &parts, &second);
    let panel = panel.hline("limit .95", 0.95).vline("part that is taken", taken);
    Ok(Figure::new(560, 360).title("An update that is shortened to its limit").panel(panel))
}

/// The two populations' log Ẑ against the exact log Z along a training with few walkers.
fn log_z() -> Result<Figure> {
    let at = |x: f64| [vec![x], vec![0.0; 9]].concat();
    let data = Mixture::new(&[at(-2.0), at(2.0)], &[0.3, 0.7])?.sample(500, &mut Rng::new(4));
    let mut panel = Panel::new("").x("update").y("log Ẑ − log Z / nats").hline("exact", 0.0);
    let (mut own, mut monitor, mut step) = (Vec::new(), Vec::new(), Vec::new());
    let seeds = 20;
    for seed in 0..seeds {
        let mut model = Mixture::new(&[at(-1.0), at(1.0)], &[0.5, 0.5])?;
        let trainer = Trainer::new(Ula::new(0.1), Method::Jarzynski { ess_min: 0.5 }).walkers(200).steps(1_000);
        let run = trainer.lr(0.01).seed(seed).quiet().train(&mut model, &data)?;
        let exact = run.column("log_z_exact")?;
        let add = |sum: &mut Vec<f64>, column: Vec<f64>| {
            sum.resize(column.len(), 0.0);
            (0..column.len()).for_each(|i| sum[i] += (column[i] - exact[i]) / seeds as f64);
        };
        add(&mut own, run.column("log_z")?);
        add(&mut monitor, run.column("log_z_monitor")?);
        step = run.column("step")?;
    }
    panel = panel.line("training walkers", &step, &own).line("monitor", &step, &monitor);
    Ok(Figure::new(560, 360).title("Error of log Ẑ, 200 walkers, mean of 20 seeds").panel(panel))
}

/// The same density under falling noise.
fn ladder() -> Result<Figure> {
    let xs = grid(-8.0, 8.0, 400);
    let mut figure = Figure::new(1_000, 260).title("Two modes under falling noise").columns(5);
    for sigma in [5.0, 2.0, 1.0, 0.5, 0.1] {
        let density: Vec<f64> = xs.iter().map(|x| two_modes(*x, sigma)).collect();
        figure = figure.panel(Panel::new(&format!("σ = {sigma}")).x("x").y("density").line("density", &xs, &density));
    }
    Ok(figure)
}
