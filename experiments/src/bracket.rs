//! Estimate log Z of enumerable machines from both directions: the histograms of A cross at log Z (Crooks), and what bounds it.

use crate::evaluate::signed_with_error;
use crate::{Context, Experiment, Output};
use jarzynski::data;
use jarzynski::density::Bipartite;
use jarzynski::io::frame::{self, Rows};
use jarzynski::kernel::Gibbs;
use jarzynski::model::{Rbm, RbmShape, Tempered, Tempering, Units, exact_draws};
use jarzynski::numeric::Rng;
use jarzynski::polars::prelude::DataFrame;
use jarzynski::tch::{Device, Kind, Tensor};
use jarzynski::train::{Method, Trainer};
use jarzynski::transport::{Ais, Bracket, ReverseStart};
use jarzynski::walkers::Estimate;
use jarzynski::{Error, Result};
use serde::{Deserialize, Serialize};

/// A machine trained on binarised digits, enlarged to `side` × `side` pixels, and one of 60 visible and one hidden unit with a mode of e² times the mass of the
/// rest that appears by a jump on the way from independent units (`late`).
///
/// Table `bracket`: `machine, seed, start, steps, lower, lower_se, bar, bar_se, upper, upper_se, exact, overlap, drift, drift_se,
/// warning`, AIS and reverse AIS of K steps with reverse walkers from exact draws, from tempered chains, and from data, which bound nothing.
/// Table `crooks`: `steps, from, to, forward, reverse`, the share of log-weights A − log Z_K/Z_0 in each bin, of forward and of
/// reverse paths of the digits' machine.
/// Table `ladders`: `machine, seed, method, log_z, se, exact, round_trips, warning` of ways that come from one direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Brackets {
    /// Pixels of a side of the digits.
    pub side: usize,
    /// Hidden units of the machine that is trained.
    pub hidden: usize,
    /// Its updates, by PCD.
    pub updates: usize,
    /// Learning rate.
    pub lr: f64,
    /// Steps K of AIS, rising; the histograms are those of the first.
    pub steps: Vec<usize>,
    /// Walkers of each direction, and chains of tempering.
    pub walkers: usize,
    /// Rounds of tempering.
    pub rounds: usize,
    /// Replicas of tempering.
    pub replicas: usize,
    /// First seed; the machines are those of it.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: usize,
}

impl Default for Brackets {
    fn default() -> Self {
        Brackets {
            side: 20,
            hidden: 12,
            updates: 1_000,
            lr: 0.05,
            steps: vec![30, 100, 300],
            walkers: 500,
            rounds: 200,
            replicas: 8,
            seed: 0,
            seeds: 1,
        }
    }
}

const DIGITS: &str = "digits";
const LATE: &str = "late";

impl Brackets {
    fn validate(&self) -> Result<()> {
        for (name, n) in [
            ("side", self.side),
            ("hidden", self.hidden),
            ("updates", self.updates),
            ("steps", self.steps.iter().copied().min().unwrap_or(0)),
            ("walkers", self.walkers),
            ("rounds", self.rounds),
            ("seeds", self.seeds),
        ] {
            if n == 0 {
                return Err(Error::param(name, n, "at least 1"));
            }
        }
        Ok(())
    }

    fn tempering(&self, seed: u64) -> Tempering {
        Tempering::new().chains(self.walkers).rounds(self.rounds).seed(seed)
    }
}

/// Digits of 8×8 pixels at another size, 0 or 1.
fn enlarged(side: i64, device: Device) -> Result<Tensor> {
    let digits = data::digits()?.on(device).x.to_kind(Kind::Float);
    let top = digits.max();
    let wide = (digits / top).view([-1, 1, 8, 8]).upsample_bilinear2d([side, side].as_slice(), false, None, None);
    Ok(wide.view([-1, side * side]).gt(0.5).to_kind(Kind::Float))
}

/// A mixture of independent units, at `on` with probability `mass`, else at `off`.
fn two_groups(mass: f64, on: f64, off: f64, device: Device) -> Result<Rbm> {
    let logit = |p: f64| (p / (1.0 - p)).ln();
    let softplus = |x: f64| x.exp().ln_1p();
    let (w, b) = (logit(on) - logit(off), logit(off));
    let c = logit(mass) - LATE_UNITS as f64 * (softplus(b + w) - softplus(b));
    let full = |size: &[i64], v: f64| Tensor::full(size, v, (Kind::Double, device));
    Rbm::with_parameters(&full(&[LATE_UNITS, 1], w), &full(&[LATE_UNITS], b), &full(&[1], c), None, false)
}

const LATE_UNITS: i64 = 60;

/// The machine `late`, and parameters on the way of a training that splits the data's groups ever further, their masses kept.
fn late(device: Device) -> Result<(Rbm, Vec<Units>)> {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let (mass, on, off) = (sigmoid(2.0), sigmoid(1.0), sigmoid(-3.0));
    let mean = mass * on + (1.0 - mass) * off;
    let at = |t: f64| two_groups(mass, mean + t * (on - mean), mean + t * (off - mean), device);
    let saved = (0..12).map(|i| at(f64::from(i) / 12.0).map(|rbm| rbm.units().copy())).collect::<Result<Vec<_>>>()?;
    let end = at(1.0)?;
    // with the means of its draws as the start, as a training would have it
    let (v, _) = exact_draws(&end.layers(), 10_000, &mut Rng::new(0x1a7e))?;
    let rbm = Rbm::bernoulli(&v, &RbmShape { hidden: 1, ..Default::default() })?;
    rbm.set_units(&end.units())?;
    Ok((rbm, saved))
}

impl Experiment for Brackets {
    const NAME: &'static str = "bracket";
    const ABOUT: &'static str = "log Z from both directions: Crooks' crossing, BAR, and starts that bound nothing";
    const SMALL: &'static str =
        "side = 8\nhidden = 5\nupdates = 50\nsteps = [5, 10]\nwalkers = 100\nrounds = 10\nreplicas = 4";

    fn full() -> Self {
        Brackets {
            side: 28,
            hidden: 16,
            steps: vec![100, 300, 1_000, 4_000],
            walkers: 2_000,
            rounds: 1_000,
            ..Default::default()
        }
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn run_in(&self, context: &Context) -> Result<Output> {
        self.validate()?;
        let mut out = Output::default();
        let digits = enlarged(self.side as i64, context.device)?;
        let shape = RbmShape { hidden: self.hidden, centred: true, seed: self.seed, ..Default::default() };
        let mut trained = Rbm::bernoulli(&digits, &shape)?;
        let trainer = Trainer::new(Gibbs::new(), Method::Pcd).steps(self.updates).lr(self.lr).seed(self.seed);
        trainer.walkers(100).batch(100).quiet().train(&mut trained, &digits)?;
        let (late, saved) = late(context.device)?;
        let mut tables = Tables::new();
        for seed in (self.seed..).take(self.seeds) {
            let rows = (self.walkers as i64).min(digits.size()[0]);
            let data = ("data", ReverseStart::unchecked(&digits.narrow(0, 0, rows)));
            self.measure((DIGITS, seed), &trained, vec![data], &mut tables)?;
            let through = self.tempering(seed).through(saved.iter().map(Units::copy).collect()).run(&late)?;
            let exact = late.exact_log_z()?;
            tables.ladder((LATE, seed), "tempering, trajectory", &through, exact);
            self.measure((LATE, seed), &late, vec![("tempering, trajectory", (&through).into())], &mut tables)?;
        }
        let (table, ladders) = (tables.brackets.finish()?, tables.ladders.finish()?);
        let crooks = tables.crooks.unwrap_or(Rows::new(&CROOKS).finish()?);
        say(&table, &ladders, &mut out)?;
        #[cfg(feature = "plot")]
        out.figure("bracket", self.figure(&table, &ladders, &crooks)?);
        out.table("bracket", table).table("ladders", ladders).table("crooks", crooks);
        Ok(out)
    }
}

/// What is measured, row by row.
struct Tables {
    brackets: Rows,
    ladders: Rows,
    crooks: Option<DataFrame>,
}

impl Tables {
    fn new() -> Self {
        let brackets = Rows::new(&[
            "machine", "seed", "start", "steps", "lower", "lower_se", "bar", "bar_se", "upper", "upper_se", "exact",
            "overlap", "drift", "drift_se", "warning",
        ]);
        let ladders = Rows::new(&["machine", "seed", "method", "log_z", "se", "exact", "round_trips", "warning"]);
        Tables { brackets, ladders, crooks: None }
    }

    fn ladder(&mut self, (machine, seed): (&str, u64), method: &str, t: &Tempered, exact: f64) {
        let warning = t.log_z.warning.unwrap_or("");
        self.ladders.push((machine, seed, method, t.log_z.value, t.log_z.se, exact, t.round_trips, warning));
    }
}

impl Brackets {
    /// Brackets of one machine from `starts`, from exact draws and from tempered chains, and its log Z by the ladders.
    fn measure(
        &self,
        (machine, seed): (&str, u64),
        rbm: &Rbm,
        starts: Vec<(&str, ReverseStart)>,
        tables: &mut Tables,
    ) -> Result<()> {
        let exact = rbm.exact_log_z()?;
        let (v, _) = exact_draws(&rbm.layers(), self.walkers, &mut Rng::new(seed).split(0xb4a))?;
        let betas = self.tempering(seed).replicas(self.replicas).run(rbm)?;
        let straight = self.tempering(seed).straight(self.replicas).run(rbm)?;
        tables.ladder((machine, seed), "tempering, β", &betas, exact);
        tables.ladder((machine, seed), "tempering, straight", &straight, exact);
        let own = [("exact", ReverseStart::exact(&v)), ("tempering, straight", (&straight).into())];
        for (name, start) in own.into_iter().chain(starts) {
            for &steps in &self.steps {
                let found = Ais::new().steps(steps).walkers(self.walkers).seed(seed).quiet().bracket(rbm, &start)?;
                let drift = found.drift.unwrap_or(Estimate::new(f64::NAN, f64::NAN));
                let Bracket { lower, upper, bar, overlap, .. } = &found;
                tables.brackets.push((
                    machine,
                    seed,
                    name,
                    steps,
                    lower.value,
                    lower.se,
                    bar.value,
                    bar.se,
                    upper.value,
                    upper.se,
                    exact,
                    *overlap,
                    drift.value,
                    drift.se,
                    bar.warning.unwrap_or(""),
                ));
                if name == "exact" && Some(&steps) == self.steps.last() {
                    let told = lower.warning.unwrap_or("");
                    tables.ladders.push((machine, seed, "AIS", lower.value, lower.se, exact, f64::NAN, told));
                }
                if tables.crooks.is_none() {
                    tables.crooks = Some(histograms(steps, &found, exact)?);
                }
            }
        }
        Ok(())
    }
}

const CROOKS: [&str; 5] = ["steps", "from", "to", "forward", "reverse"];
const BINS: usize = 36;

/// Both histograms of A − log Z_K/Z_0 in the same bins.
fn histograms(steps: usize, found: &Bracket, exact: f64) -> Result<DataFrame> {
    let c = exact - found.log_z0;
    let finite = || found.forward.iter().chain(&found.reverse).map(|a| a - c).filter(|a| a.is_finite());
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let width = ((high - low) / BINS as f64).max(1e-12);
    let share = |a: &[f64], bin: usize| {
        let inside = |a: &&f64| ((((*a - c) - low) / width) as usize).min(BINS - 1) == bin;
        a.iter().filter(inside).count() as f64 / a.len() as f64
    };
    let mut rows = Rows::new(&CROOKS);
    for bin in 0..BINS {
        let from = low + bin as f64 * width;
        rows.push((steps, from, from + width, share(&found.forward, bin), share(&found.reverse, bin)));
    }
    rows.finish()
}

fn say(table: &DataFrame, ladders: &DataFrame, out: &mut Output) -> Result<()> {
    let (read, text) = (|c: &str| frame::column_f64(table, c), |c: &str| frame::column_str(table, c));
    let (machine, start, steps, exact, overlap) =
        (text("machine")?, text("start")?, read("steps")?, read("exact")?, read("overlap")?);
    let off = |name: &str| -> Result<Vec<String>> {
        let (v, se) = (read(name)?, read(&format!("{name}_se"))?);
        Ok((0..v.len()).map(|i| signed_with_error(v[i] - exact[i], se[i], 3)).collect())
    };
    let (lower, bar, upper) = (off("lower")?, off("bar")?, off("upper")?);
    for i in 0..steps.len() {
        out.note(format!(
            "{:<6} {:<21} K={:<5} lower {}, BAR {}, upper {} of the exact log Z, overlap {:.2}",
            machine[i], start[i], steps[i], lower[i], bar[i], upper[i], overlap[i]
        ));
    }
    let (read, text) = (|c: &str| frame::column_f64(ladders, c), |c: &str| frame::column_str(ladders, c));
    let (machine, method, z, se, exact, trips) =
        (text("machine")?, text("method")?, read("log_z")?, read("se")?, read("exact")?, read("round_trips")?);
    for i in 0..z.len() {
        let trips = if trips[i].is_nan() { String::new() } else { format!(", {:.1} round trips per chain", trips[i]) };
        let off = signed_with_error(z[i] - exact[i], se[i], 4);
        out.note(format!("{:<6} {:<21} log Z {off} of the exact one{trips}", machine[i], method[i]));
    }
    Ok(())
}

#[cfg(feature = "plot")]
impl Brackets {
    fn figure(&self, table: &DataFrame, ladders: &DataFrame, crooks: &DataFrame) -> Result<jarzynski::plot::Figure> {
        use jarzynski::plot::{Figure, Panel};
        let first = self.seed.to_string();
        let (table, ladders) = (&frame::filter(table, "seed", &first)?, &frame::filter(ladders, "seed", &first)?);
        let read = |c: &str| frame::column_f64(crooks, c);
        let (from, to, forward, reverse) = (read("from")?, read("to")?, read("forward")?, read("reverse")?);
        let edges: Vec<f64> = from.iter().copied().chain(to.last().copied()).collect();
        let steps = read("steps")?.first().copied().unwrap_or(0.0);
        let area =
            |share: &[f64]| -> Vec<f64> { share.iter().zip(&from).zip(&to).map(|((s, a), b)| s / (b - a)).collect() };
        let histograms = Panel::new(&format!("log-weights of both directions, K = {steps}"))
            .x("A − log Z_K/Z_0 / nats")
            .y("density")
            .histogram("forward", &edges, &area(&forward))
            .histogram("reverse", &edges, &area(&reverse))
            .vline("exact", 0.0);
        // log p_R/p_F is A − C, a line of slope one through 0; shown where each has at least five walkers
        let least = 4.5 / self.walkers as f64;
        let seen: Vec<usize> = (0..from.len()).filter(|i| forward[*i].min(reverse[*i]) > least).collect();
        let x: Vec<f64> = seen.iter().map(|i| 0.5 * (from[*i] + to[*i])).collect();
        let ratio: Vec<f64> = seen.iter().map(|i| (reverse[*i] / forward[*i]).ln()).collect();
        let crossing = Panel::new("Crooks: log of their ratio")
            .x("A − log Z_K/Z_0 / nats")
            .y("log p_R(A)/p_F(A)")
            .points("measured", &x, &ratio)
            .line("exact", &x, &x);
        let mut figure =
            Figure::new(1100, 1000).columns(2).title("log Z from both directions").panel(histograms).panel(crossing);
        for (machine, start, title) in [
            (DIGITS, "exact", "digits, reverse start exact"),
            (DIGITS, "data", "digits, reverse start data: no bound"),
            (LATE, "exact", "late mode, reverse start exact"),
        ] {
            let own = frame::filter(&frame::filter(table, "machine", machine)?, "start", start)?;
            let read = |c: &str| frame::column_f64(&own, c);
            let (k, exact) = (read("steps")?, read("exact")?);
            let mut panel =
                Panel::new(title).x("steps K").y("log Z estimate − exact / nats").log_x().hline("exact", 0.0);
            for (name, column) in [("lower end", "lower"), ("BAR", "bar"), ("upper end", "upper")] {
                let off: Vec<f64> = read(column)?.iter().zip(&exact).map(|(v, e)| v - e).collect();
                panel = panel.line(name, &k, &off).errorbars(name, &k, &off, &read(&format!("{column}_se"))?);
            }
            figure = figure.panel(panel);
        }
        let own = frame::filter(ladders, "machine", LATE)?;
        let read = |c: &str| frame::column_f64(&own, c);
        let (z, se, exact) = (read("log_z")?, read("se")?, read("exact")?);
        let off: Vec<f64> = z.iter().zip(&exact).map(|(z, e)| z - e).collect();
        let names = frame::column_str(&own, "method")?;
        let short: Vec<&str> = names.iter().map(|n| n.trim_start_matches("tempering, ")).collect();
        let panel =
            Panel::new("late mode: one direction, by the way taken").y("log Ẑ − log Z / nats").categories(&short);
        Ok(figure.panel(panel.bars("log Ẑ", &off, &se).hline("exact", 0.0)))
    }
}
