//! Run a path at another speed: t as a smooth rising function of a new time, through the times that a pilot found.

use super::path::Grid;
use crate::density::{Base, Differentiable, Evaluation, Flow, Path};
use crate::error::Result;
use tch::Tensor;

/// Intervals of the function: few enough that the noise of a pilot's times is smoothed away.
const INTERVALS: usize = 16;

/// U_{t(s)} for s from 0 to 1, where s ↦ t(s) rises smoothly through given times, which then are equally far apart in s.
///
/// On a geometric path from a wide base most of the change happens at very small t. With the times of a
/// [`Pilot`](crate::transport::Pilot) equal steps in s change the distribution equally much, a velocity is of one size all along the
/// path, and a network of s can represent it. ∂_sU = t′(s) ∂_tU and, for a flow, b_s = t′(s) b_t.
///
/// Between 17 knots, linear interpolations of the times, t is the monotone cubic of Fritsch and Butland (1984): t′ is continuous and
/// above 0.
///
/// ```
/// use jarzynski::{Geometric, Path, density::Retimed, model::Gaussian};
/// # fn main() -> jarzynski::Result<()> {
/// let path = Geometric { base: Gaussian::new(&[0.0], &[10.0])?, target: Gaussian::new(&[0.0], &[0.1])? };
/// let slow_start = Retimed::new(path, &[0.0, 1e-3, 1e-2, 0.1, 1.0])?;
/// assert!((slow_start.time(0.25).0 - 1e-3).abs() < 1e-12);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Retimed<P> {
    /// The path as it was.
    pub path: P,
    knots: Vec<f64>,
    slopes: Vec<f64>,
}

impl<P> Retimed<P> {
    /// With these times 0 = t_0 < … < t_K = 1 at s = k/K, as [`Piloted::times`](crate::transport::Piloted) has them.
    ///
    /// # Errors
    /// Fewer than two times, times that do not rise from 0 to 1.
    pub fn new(path: P, times: &[f64]) -> Result<Self> {
        let grid = Grid::new(times)?;
        let found = grid.steps();
        let intervals = found.min(INTERVALS);
        let knots: Vec<f64> = (0..=intervals)
            .map(|j| {
                let place = j as f64 * found as f64 / intervals as f64;
                let i = (place as usize).min(found - 1);
                grid.at(i) + (grid.at(i + 1) - grid.at(i)) * (place - i as f64)
            })
            .collect();
        let rises: Vec<f64> = knots.windows(2).map(|k| (k[1] - k[0]) * intervals as f64).collect();
        let inner = rises.windows(2).map(|r| 2.0 * r[0] * r[1] / (r[0] + r[1]));
        let slopes = [rises[0]].into_iter().chain(inner).chain([rises[intervals - 1]]).collect();
        Ok(Retimed { path, knots, slopes })
    }

    /// t and t′ at s in [0, 1].
    pub fn time(&self, s: f64) -> (f64, f64) {
        let intervals = self.knots.len() - 1;
        let place = s.clamp(0.0, 1.0) * intervals as f64;
        let i = (place as usize).min(intervals - 1);
        let (u, width) = (place - i as f64, 1.0 / intervals as f64);
        let (a, b) = (self.knots[i], self.knots[i + 1]);
        let (da, db) = (self.slopes[i] * width, self.slopes[i + 1] * width);
        let (square, cube) = (u * u, u * u * u);
        let t = a * (2.0 * cube - 3.0 * square + 1.0)
            + da * (cube - 2.0 * square + u)
            + b * (3.0 * square - 2.0 * cube)
            + db * (cube - square);
        let slope =
            (6.0 * (square - u) * (a - b) + da * (3.0 * square - 4.0 * u + 1.0) + db * (3.0 * square - 2.0 * u))
                / width;
        (t.clamp(0.0, 1.0), slope)
    }
}

impl<P: Differentiable> Differentiable for Retimed<P> {}

impl<P: Path> Path for Retimed<P> {
    fn base(&self) -> &dyn Base {
        self.path.base()
    }

    fn energy(&self, s: f64, x: &Tensor) -> Tensor {
        self.path.energy(self.time(s).0, x)
    }

    fn evaluate(&self, s: f64, x: &Tensor) -> Evaluation {
        self.path.evaluate(self.time(s).0, x)
    }

    fn rate(&self, s: f64, x: &Tensor) -> Tensor {
        let (t, slope) = self.time(s);
        self.path.rate(t, x) * slope
    }

    fn weighable(&self) -> Result<()> {
        self.path.weighable()
    }
}

impl<P: Flow> Flow for Retimed<P> {
    fn velocity(&self, s: f64, x: &Tensor) -> Tensor {
        let (t, slope) = self.time(s);
        self.path.velocity(t, x) * slope
    }

    fn linearise(&self, s: f64, x: &Tensor) -> (Tensor, Tensor) {
        let (t, slope) = self.time(s);
        let (b, j) = self.path.linearise(t, x);
        (b * slope, j * slope)
    }

    fn push(&self, s: f64, x: &Tensor, tangents: &Tensor) -> (Tensor, Tensor) {
        let (t, slope) = self.time(s);
        let (b, j) = self.path.push(t, x, tangents);
        (b * slope, j * slope)
    }

    fn arrive(&self, s: f64, x: &Tensor) -> Evaluation {
        let (t, slope) = self.time(s);
        let at = self.path.arrive(t, x);
        let b = at.drift().map(|b| b * slope);
        b.into_iter().fold(at, Evaluation::with_drift)
    }
}
