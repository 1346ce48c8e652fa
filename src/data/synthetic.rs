//! Make the two-dimensional data sets that flows are tried on: eight Gaussians, two moons, a checkerboard.

use std::f64::consts::PI;

use tch::{Kind, Tensor};

use super::Dataset;
use crate::error::{Error, Result};
use crate::numeric::Rng;

/// All images of `side` × `side` pixels whose rows, or whose columns, are each all on or all off: 2·2^side of them, with
/// the two uniform ones twice. Zeros and ones, `Float`; labels 0 for rows and 1 for columns.
///
/// # Errors
/// [`Error::Param`] for a side of 0 or above 12.
pub fn bars_and_stripes(side: usize) -> Result<Dataset> {
    if side == 0 || side > 12 {
        return Err(Error::param("side", side, "1 to 12 pixels"));
    }
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for columns in [false, true] {
        for state in 0..1usize << side {
            for y in 0..side {
                pixels.extend((0..side).map(|x| (state >> if columns { x } else { y } & 1) as f32));
            }
            labels.push(columns as i64);
        }
    }
    let n = labels.len() as i64;
    let x = Tensor::from_slice(&pixels).view([n, (side * side) as i64]);
    let set = Dataset::new("bars and stripes", x)?.with_labels(labels)?;
    set.with_shape(&[side as i64, side as i64])?.with_range(0.0, 1.0)
}

/// Two-dimensional distributions with named parts of known mass.
///
/// ```
/// use jarzynski::{Rng, data::Synthetic};
/// let moons = Synthetic::Moons { weight: 0.3 }.sample(1_000, &mut Rng::new(0)).unwrap();
/// assert_eq!((moons.dim(), moons.counts().len()), (2, 2));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Synthetic {
    /// Modes N(μ_j, .25² I) on a circle of radius 2.5 with these masses (normalised here), part j at angle 2πj/J.
    Gaussians {
        /// One mass per mode, positive.
        weights: Vec<f64>,
    },
    /// Two half circles of radius 1.5 around (∓.75, ∓.4) with noise .12: the upper one has mass `weight`.
    Moons {
        /// Mass of part 0, the upper moon.
        weight: f64,
    },
    /// The eight dark squares of a 4 × 4 board of side 5 around the origin, uniform, of equal mass; parts row by row.
    Checkerboard,
}

impl Synthetic {
    /// `gaussians`, `moons` or `checkerboard`.
    pub fn name(&self) -> &'static str {
        match self {
            Synthetic::Gaussians { .. } => "gaussians",
            Synthetic::Moons { .. } => "moons",
            Synthetic::Checkerboard => "checkerboard",
        }
    }

    /// Mass of each part.
    ///
    /// # Errors
    /// [`Error::Param`] for masses that are not positive.
    pub fn masses(&self) -> Result<Vec<f64>> {
        let masses = match self {
            Synthetic::Gaussians { weights } => {
                let total: f64 = weights.iter().sum();
                weights.iter().map(|w| w / total).collect()
            }
            Synthetic::Moons { weight } => vec![*weight, 1.0 - weight],
            Synthetic::Checkerboard => vec![0.125; 8],
        };
        match masses.iter().find(|m| !(**m > 0.0 && m.is_finite())) {
            Some(m) => Err(Error::param("mass", m, "positive, finite masses that sum to 1")),
            None if masses.is_empty() => Err(Error::param("weights", "[]", "at least one mass")),
            None => Ok(masses),
        }
    }

    /// The centre of mode j of the Gaussians.
    fn mode(j: usize, of: usize) -> [f64; 2] {
        let angle = 2.0 * PI * j as f64 / of as f64;
        [2.5 * angle.cos(), 2.5 * angle.sin()]
    }

    /// n independent points, `Float`, labelled by their part.
    ///
    /// # Errors
    /// [`Error::Param`] for masses that are not positive, [`Error::Shape`] for n = 0.
    pub fn sample(&self, n: usize, rng: &mut Rng) -> Result<Dataset> {
        let masses = self.masses()?;
        let (parts, along, noise) =
            (rng.uniforms(n), rng.uniforms(2 * n), rng.normal(&[n as i64, 2], Kind::Double, tch::Device::Cpu));
        let noise = Vec::<f64>::try_from(noise.view(-1))?;
        let (mut points, mut labels) = (Vec::with_capacity(2 * n), Vec::with_capacity(n));
        for i in 0..n {
            let mut left = parts[i];
            let part = masses.iter().position(|m| {
                left -= m;
                left < 0.0
            });
            let j = part.unwrap_or(masses.len() - 1);
            let (u, v, z) = (along[2 * i], along[2 * i + 1], [noise[2 * i], noise[2 * i + 1]]);
            let [x, y] = match self {
                Synthetic::Gaussians { weights } => {
                    let [x, y] = Self::mode(j, weights.len());
                    [x + 0.25 * z[0], y + 0.25 * z[1]]
                }
                Synthetic::Moons { .. } => {
                    let (sign, angle) = (if j == 0 { 1.0 } else { -1.0 }, PI * u);
                    let (x, y) = (1.5 * angle.cos() - 0.75, 1.5 * angle.sin() - 0.4);
                    [sign * x + 0.12 * z[0], sign * y + 0.12 * z[1]]
                }
                Synthetic::Checkerboard => {
                    let (row, half) = (j / 2, j % 2);
                    let column = 2 * half + row % 2;
                    [1.25 * (column as f64 + u) - 2.5, 1.25 * (row as f64 + v) - 2.5]
                }
            };
            points.extend([x, y]);
            labels.push(j as i64);
        }
        let x = Tensor::from_slice(&points).view([n as i64, 2]).to_kind(Kind::Float);
        Dataset::new(self.name(), x)?.with_labels(labels)
    }

    /// The part that each row of x `[n, 2]` belongs to, `[n]`: the nearest mode or moon, or the square it lies in (the
    /// nearest dark one for a point in a light square).
    pub fn part(&self, x: &Tensor) -> Tensor {
        let x = x.to_kind(Kind::Double);
        let from = |cx: f64, cy: f64| {
            let centre = Tensor::from_slice(&[cx, cy]).to_device(x.device());
            (&x - centre).square().sum_dim_intlist(-1, false, None::<Kind>)
        };
        let distances: Vec<Tensor> = match self {
            Synthetic::Gaussians { weights } => {
                (0..weights.len()).map(|j| Self::mode(j, weights.len())).map(|[a, b]| from(a, b)).collect()
            }
            Synthetic::Moons { .. } => [1.0, -1.0]
                .iter()
                .map(|sign| {
                    // to the half circle, or to its nearer end
                    let (px, py) = (x.select(1, 0) * *sign + 0.75, x.select(1, 1) * *sign + 0.4);
                    let on = (px.square() + py.square()).sqrt() - 1.5;
                    let end = (px.abs() - 1.5).square() + py.square();
                    on.square().where_self(&py.ge(0.0), &end)
                })
                .collect(),
            Synthetic::Checkerboard => (0..8)
                .map(|j| {
                    let (row, column) = (j / 2, 2 * (j % 2) + (j / 2) % 2);
                    let beyond = |v: &Tensor, k: i32| {
                        let low = 1.25 * k as f64 - 2.5;
                        (low - v).clamp_min(0.0) + (v - (low + 1.25)).clamp_min(0.0)
                    };
                    beyond(&x.select(1, 0), column).square() + beyond(&x.select(1, 1), row).square()
                })
                .collect(),
        };
        Tensor::stack(&distances, -1).argmin(-1, false)
    }
}
