//! Draw every kind of layer once: `cargo run --example plots -- FOLDER`.

use jarzynski::io::frame::{Rows, bands};
use jarzynski::plot::{Figure, Panel};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

fn main() -> jarzynski::Result<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "results/plots".into());
    std::fs::create_dir_all(&dir).map_err(|e| jarzynski::Error::io(&dir, e))?;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(0);
    let mut noise = move || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;

    // Training curves with bands over seeds.
    let mut rows = Rows::new(&["method", "seed", "step", "cross_entropy", "ess"]);
    for (method, end) in [("jarzynski", -35.0), ("pcd", -24.0), ("cd", -12.0)] {
        for seed in 0..5 {
            let shift = 1.5 * noise();
            for step in (0..8_000).step_by(10) {
                let t = step as f64 / 1_200.0;
                let value = end * (1.0 - (-t).exp()) + shift * (1.0 - (-t).exp()) + 0.6 * noise();
                rows.push((method, seed, step, value, 0.5 + 0.5 * (-(t % 0.9)).exp()));
            }
        }
    }
    let curves = bands(&rows.finish()?, &["method", "step"], "seed", &["cross_entropy", "ess"])?;
    let entropy = Panel::new("Cross-entropy").x("step").y("cross-entropy / nats");
    let entropy = entropy.frame(&curves, "method", "step", "cross_entropy")?.hline("exact", -36.2);
    let same = |title: &str, y: &str| Panel::new(title).x("step").y(y).frame(&curves, "method", "step", "ess");
    let figure = Figure::new(900, 320).title("One legend where panels share their labels");
    let figure =
        figure.panel(same("Effective sample size", "ESS / N")?).panel(same("On a log axis", "ESS / N")?.log_y());
    figure.panel(same("A closer look", "ESS / N")?.xlim(1000.0, 1500.0)).save(&dir, "shared")?;
    let one: Vec<f64> = (0..8_000).map(f64::from).collect();
    let saw: Vec<f64> = one.iter().map(|s| 0.5 + 0.5 * (-(s % 900.0) / 700.0).exp() + 0.01 * noise()).collect();
    let ess = Panel::new("Effective sample size").x("step").y("ESS / N").ylim(0.0, 1.05);
    let ess = ess.line("jarzynski", &one, &saw).dashed("threshold", &[0.0, 8e3], &[0.5, 0.5]);
    Figure::new(900, 380).panel(entropy).panel(ess).save(&dir, "curves")?;

    // Everything else.
    let h = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5];
    let bias = |x: f64| 1.0 / (1.0 - x / 2.0);
    let fine: Vec<f64> = (0..100).map(|i| 0.01 * 50f64.powf(i as f64 / 99.0)).collect();
    let moments = Panel::new("Variance against step size")
        .x("step size h")
        .y("variance")
        .log_x()
        .dashed("exact", &[0.01, 0.5], &[1.0, 1.0])
        .line("plain, exact for ULA", &fine, &fine.iter().map(|x| bias(*x)).collect::<Vec<_>>())
        .errorbars("plain", &h, &h.map(|x| bias(x) + 0.01 * noise()), &[0.01; 6])
        .errorbars("reweighted", &h, &h.map(|_| 1.0 + 0.01 * noise()), &[0.005, 0.006, 0.008, 0.012, 0.02, 0.04]);
    let n = [1e2, 1e3, 1e4, 1e5];
    let error = Panel::new("Error")
        .x("walkers N")
        .y("root mean square error")
        .log_x()
        .log_y()
        .line("jarzynski", &n, &n.map(|n| 2.0 / n.sqrt()))
        .points("jarzynski", &n, &n.map(|n| 2.0 / n.sqrt() * (1.0 + 0.1 * noise())))
        .points("jarzynski-monitor", &n, &n.map(|n| 3.0 / n.sqrt() * (1.0 + 0.1 * noise())))
        .dashed("N^(−1/2)", &n, &n.map(|n| 1.0 / n.sqrt()));
    let masses = Panel::new("Class masses of the model")
        .x("digit")
        .y("mass")
        .categories(&["2", "3", "6"])
        .bars("data", &[4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0], &[])
        .bars("jarzynski", &[0.56, 0.30, 0.14], &[0.02, 0.02, 0.01])
        .bars("pcd", &[0.41, 0.33, 0.26], &[0.05, 0.03, f64::NAN])
        .bars("cd", &[0.21, 0.47, 0.32], &[0.06, 0.05, 0.04]);
    let edges: Vec<f64> = (0..=40).map(|i| -4.0 + 0.2 * i as f64).collect();
    let density = |m: f64| edges.windows(2).map(|e| (-(e[0] + 0.1 - m).powi(2) / 2.0).exp() * 0.4).collect::<Vec<_>>();
    let histogram = Panel::new("Histogram")
        .x("x")
        .y("density")
        .histogram("jarzynski", &edges, &density(0.0))
        .histogram("pcd", &edges, &density(1.0))
        .vline("mean", 0.0)
        .text(-2.6, 0.3, "remark");
    let (xs, ys): (Vec<f64>, Vec<f64>) = (0..6_000).map(|i| (noise() + 4.0 * f64::from(i % 2), noise())).unzip();
    let scatter =
        Panel::new("Walkers").x("x₁").y("x₂").points("jarzynski", &xs, &ys).points("exact", &[0.0, 4.0], &[0.0; 2]);
    let gaps = [1.0, 2.0, f64::NAN, 2.5, 2.0, f64::NAN, 3.0];
    let x7: Vec<f64> = (0..7).map(f64::from).collect();
    let broken = Panel::new("NaN breaks a line")
        .x("step")
        .y("value / 10⁶")
        .line("a", &x7, &gaps.map(|g| g * 1e6))
        .band("a", &x7, &gaps.map(|g| g * 9e5), &gaps.map(|g| g * 1.1e6));
    let all = [moments, error, masses, histogram, scatter, broken, Panel::new("Nothing yet").x("step").y("value")];
    let figure = Figure::new(1200, 1000).title("Every kind of layer");
    all.into_iter().fold(figure, Figure::panel).save(&dir, "layers")?;

    // Weighted walkers: one wide cloud, reweighted to a double well; a density over a small grid; fitted powers.
    let energy = |x: f64, y: f64| 2.0 * (x * x - 1.0).powi(2) + 1.5 * (y - 0.4 * x).powi(2);
    let (xs, ys): (Vec<f64>, Vec<f64>) = (0..150).map(|_| (0.9 * noise(), 0.8 * noise())).unzip();
    let proposal = |x: f64, y: f64| 0.5 * ((x / 0.9).powi(2) + (y / 0.8).powi(2));
    let weigh = |x: &f64, y: &f64| (proposal(*x, *y) - energy(*x, *y)).exp();
    let weights: Vec<f64> = xs.iter().zip(&ys).map(|(x, y)| weigh(x, y)).collect();
    let (nx, ny) = (90, 70);
    let grid = |f: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
        let cell = |i: usize, n: usize, half: f64| half * (2.0 * (i as f64 + 0.5) / n as f64 - 1.0);
        (0..nx * ny).map(|i| f(cell(i % nx, nx, 2.0), cell(i / nx, ny, 2.0))).collect()
    };
    let plane = |title: &str| Panel::new(title).x("x₁").y("x₂");
    let wells = plane("Energy, weighted walkers")
        .energy2d("energy U", &grid(&|x, y| energy(x, y).min(12.0)), (-2.0, 2.0), (-2.0, 2.0), nx)
        .walkers("jarzynski", &xs, &ys, &weights);
    let (many_x, many_y): (Vec<f64>, Vec<f64>) =
        (0..6_000).map(|i| (0.25 * noise() + f64::from(i % 2) * 2.0 - 1.0, 0.4 * noise())).unzip();
    let cloud = plane("Density, equal walkers")
        .energy2d("density ρ", &grid(&|x, y| (-energy(x, y)).exp()), (-2.0, 2.0), (-2.0, 2.0), nx)
        .walkers("pcd", &many_x[..400], &many_y[..400], &[])
        .points("exact", &[-1.0, 1.0], &[-0.4, 0.4]);
    let (wide_x, wide_y): (Vec<f64>, Vec<f64>) = (0..4_000).map(|_| (0.9 * noise(), 0.8 * noise())).unzip();
    let many_weights: Vec<f64> = wide_x.iter().zip(&wide_y).map(|(x, y)| weigh(x, y)).collect();
    let crowd = plane("Thousands of walkers")
        .energy2d("energy U", &grid(&|x, y| energy(x, y).min(12.0)), (-2.0, 2.0), (-2.0, 2.0), nx)
        .walkers("jarzynski", &wide_x, &wide_y, &many_weights);
    let marginal = Panel::new("Weighted values")
        .x("x₁")
        .y("density")
        .weighted_histogram("jarzynski", &wide_x, &many_weights, 40)
        .density("jarzynski", &wide_x, &many_weights)
        .density("pcd", &many_x, &[]);
    let steps = [1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2];
    let powers = Panel::new("Fitted powers")
        .x("step size h")
        .y("standard deviation")
        .slope("increments", &steps, &steps.map(|h| 3.0 * h * (1.0 + 0.05 * noise())))
        .slope("bias", &steps, &steps.map(|h| 90.0 * h * h * (1.0 + 0.2 * noise())));
    let rates = Panel::new("A falling error")
        .x("walkers N")
        .y("error")
        .slope("jarzynski", &n, &n.map(|n| 2.0 / n.sqrt() * (1.0 + 0.05 * noise())))
        .slope("pcd", &n, &n.map(|n| 0.3 / n.powf(0.1) * (1.0 + 0.03 * noise())));
    let figure = Figure::new(900, 560).title("Weighted walkers, energies and powers");
    let figure = [marginal, powers, rates, wells, cloud, crowd].into_iter().fold(figure, Figure::panel);
    figure.save(&dir, "weighted")?;
    figure.save_data(&dir, "weighted")?;

    // Image grids.
    let digit = |k: usize, c: f32| -> Vec<f32> {
        (0..64).map(|i| if (i / 8 + k) % 8 == i % 8 { 1.0 } else { c * ((i * (k + 3)) % 7) as f32 / 7.0 }).collect()
    };
    let grid = |title: &str, c: f32| {
        Panel::images(title, &(0..30).map(|k| digit(k, c)).collect::<Vec<_>>(), (8, 8), 6, (0.0, 1.0))
    };
    let figure = Figure::new(900, 300).columns(4);
    let figure = figure.panel(grid("data", 0.0)).panel(grid("jarzynski", 0.2).x("cross-entropy −35.2 nats"));
    figure.panel(grid("pcd", 0.5)).panel(grid("cd", 0.9)).save(&dir, "images")
}
