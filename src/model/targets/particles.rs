//! Give clusters of identical particles with pair potentials: double wells (DW-4) and Lennard-Jones (LJ-13).

use super::{LOG_2PI, at_least, positive};
use crate::density::{Differentiable, Energy, Evaluation, floats};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// The potential v(r) between two particles at distance r.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PairPotential {
    /// a (r − r_0)⁴ + b (r − r_0)² with a > 0: two distances for b < 0.
    DoubleWell {
        /// a > 0.
        quartic: f64,
        /// b.
        quadratic: f64,
        /// r_0.
        distance: f64,
    },
    /// ε ((r_m/r)¹² − 2 (r_m/r)⁶): depth ε at r_m.
    LennardJones {
        /// ε > 0, in units of k_B T.
        depth: f64,
        /// r_m > 0.
        distance: f64,
    },
}

/// p particles in s dimensions, row x the p·s coordinates particle by particle:
///
/// ```text
/// U(x) = Σ_{i<j} v(|x_i − x_j|) + (κ/2) Σ_i |x_i − x̄|² + (p/2) |x̄|² + (s/2) log 2π
/// ```
///
/// v, κ and therefore the distribution of shapes do not see translations. **The convention here**: the centre of mass x̄ is drawn
/// from N(0, I/p), normalised, by the last two terms, so that walkers have p·s coordinates like any others and log Z is that of the
/// centred configurations, ∫ e^{−U} over the (p − 1)s-dimensional subspace Σ x_i = 0 with the volume of R^{ps} in it. Publications
/// that project on that subspace have the same log Z; permutations of particles are counted as different.
///
/// [`double_wells`](Particles::double_wells) is DW-4, [`lennard_jones`](Particles::lennard_jones) LJ-13. log Z of neither is known in
/// closed form; references with their errors stand there.
///
/// ```
/// use jarzynski::model::{Gaussian, targets::Particles};
/// use jarzynski::kernel::{Barker, Reversed};
/// use jarzynski::{Geometric, Transport};
/// # fn main() -> jarzynski::Result<()> {
/// let target = Particles::double_wells()?;
/// let path = Geometric { base: Gaussian::new(&[0.0; 8], &[2.0; 8])?, target };
/// let run = Transport::new(Reversed::new(Barker::new(0.3)), 40, 200, 0).quiet().run(&path)?;
/// println!("log Z = {}", run.walkers.log_z());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Particles {
    count: i64,
    dimensions: i64,
    pair: PairPotential,
    trap: f64,
    /// Row by row the two particles of a pair, +1 and −1, `[p(p − 1)/2, p]`.
    incidence: Tensor,
}

/// Particles of the largest cluster.
const MOST: i64 = 256;

impl Particles {
    /// p particles in s dimensions with this pair potential, held by a trap of strength κ ≥ 0.
    ///
    /// # Errors
    /// p below 2 or above 256, s below 1, parameters out of their ranges, κ negative; κ = 0 with Lennard-Jones, where particles
    /// escape and Z is infinite.
    pub fn new((count, dimensions): (i64, i64), pair: PairPotential, trap: f64) -> Result<Self> {
        if at_least("count", count, 2)? > MOST {
            return Err(Error::param("count", count, format!("at most {MOST} particles")));
        }
        at_least("dimensions", dimensions, 1)?;
        match pair {
            PairPotential::DoubleWell { quartic, quadratic, distance } => {
                positive("quartic", quartic)?;
                super::finite("quadratic", quadratic)?;
                super::finite("distance", distance)?;
            }
            PairPotential::LennardJones { depth, distance } => {
                positive("depth", depth)?;
                positive("distance", distance)?;
            }
        }
        let least = matches!(pair, PairPotential::LennardJones { .. });
        if !(trap >= 0.0 && trap.is_finite()) || (least && trap == 0.0) {
            let expected = "a finite number ≥ 0, positive for Lennard-Jones, whose particles escape without a trap";
            return Err(Error::param("trap", trap, expected));
        }
        let mut rows = Vec::new();
        for i in 0..count {
            for j in i + 1..count {
                rows.extend((0..count).map(|k| f64::from(i8::from(k == i) - i8::from(k == j))));
            }
        }
        let incidence = Tensor::from_slice(&rows).view([-1, count]);
        Ok(Particles { count, dimensions, pair, trap, incidence })
    }

    /// DW-4: four particles in the plane with v(r) = .9 (r − 4)⁴ − 4 (r − 4)², no trap (Köhler, Klein, Noé 2020, arXiv 2006.02425, with
    /// τ = 1). Their sum over all i, j has the factor ½: each pair counts once.
    ///
    /// log Z = 29.673(7) by six runs of 2,000 walkers with HMC, 300 and 1,200 steps, which agree: 29.673(15) and 29.673(8).
    ///
    /// # Errors
    /// None at present; that of [`Particles::new`].
    pub fn double_wells() -> Result<Self> {
        let pair = PairPotential::DoubleWell { quartic: 0.9, quadratic: -4.0, distance: 4.0 };
        Particles::new((4, 2), pair, 0.0)
    }

    /// LJ-13 for p = 13: p particles in three dimensions with ε = `depth`, r_m = 1, κ = 1 (Köhler, Klein, Noé 2020).
    ///
    /// **Two depths circulate.** The publication and those who count each pair once have ε = 1 (Midgley et al. 2023,
    /// arXiv 2308.10364); those who sum over i ≠ j without a factor ½ have ε = 2 (Klein, Krämer, Noé 2023, arXiv 2306.15030, and
    /// Akhound-Sadegh et al. 2024, arXiv 2402.06121, "energy factor 1").
    ///
    /// log Z for p = 13 from N(0, I), with HMC of 4 leapfrog steps: 39.25(3) with ε = 1 by three runs of 2,000 walkers, 300 steps; 59.9(2)
    /// with ε = 2 by three runs of 800 walkers, 200 and 800 steps, whose scatter is the error: lineages had died out in two.
    ///
    /// # Errors
    /// As [`Particles::new`].
    pub fn lennard_jones(particles: i64, depth: f64) -> Result<Self> {
        Particles::new((particles, 3), PairPotential::LennardJones { depth, distance: 1.0 }, 1.0)
    }

    /// Dimension p·s.
    pub fn dim(&self) -> i64 {
        self.count * self.dimensions
    }

    /// v(r) and v′(r)/r, from r².
    fn pair(&self, square: &Tensor) -> (Tensor, Tensor) {
        match self.pair {
            PairPotential::DoubleWell { quartic, quadratic, distance } => {
                let r = square.sqrt();
                let off = &r - distance;
                let two = off.square();
                let slope = (&two * (4.0 * quartic) + 2.0 * quadratic) * off;
                // two particles in one place push each other in no direction
                let over = (&slope / &r).nan_to_num(0.0, 0.0, 0.0);
                ((&two * quartic + quadratic) * two, over)
            }
            PairPotential::LennardJones { depth, distance } => {
                let inverse = square.reciprocal() * (distance * distance);
                let six = &inverse * &inverse * &inverse;
                let over = (1.0 - &six) * &six / square * (12.0 * depth);
                ((&six - 2.0) * &six * depth, over)
            }
        }
    }

    /// Differences of the pairs `[n, pairs, s]`, and the centre of mass `[n, s]`.
    fn parts(&self, x: &Tensor) -> (Tensor, Tensor, Tensor) {
        let rows = floats(x, self.dim(), Kind::Double).view([-1, self.count, self.dimensions]);
        let apart = self.incidence_for(&rows).matmul(&rows);
        let centre = rows.mean_dim(1, false, None::<Kind>);
        (rows, apart, centre)
    }

    fn incidence_for(&self, x: &Tensor) -> Tensor {
        self.incidence.to_kind(x.kind()).to_device(x.device())
    }

    fn of_parts(&self, pairs: &Tensor, rows: &Tensor, centre: &Tensor) -> Tensor {
        let last = |t: &Tensor| t.sum_dim_intlist(-1, false, None::<Kind>);
        let (all, of_centre) = (last(&last(&rows.square())), last(&centre.square()) * self.count as f64);
        let trap = (all - &of_centre) * (0.5 * self.trap);
        last(pairs) + trap + of_centre * 0.5 + 0.5 * self.dimensions as f64 * LOG_2PI
    }
}

impl Differentiable for Particles {}

impl Energy for Particles {
    fn energy(&self, x: &Tensor) -> Tensor {
        let (rows, apart, centre) = self.parts(x);
        let pairs = self.pair(&apart.square().sum_dim_intlist(-1, false, None::<Kind>)).0;
        self.of_parts(&pairs, &rows, &centre)
    }

    fn evaluate(&self, x: &Tensor) -> Evaluation {
        crate::error::no_grad(|| {
            let (rows, apart, centre) = self.parts(x);
            let (pairs, over) = self.pair(&apart.square().sum_dim_intlist(-1, false, None::<Kind>));
            let force = self.incidence_for(&rows).tr().matmul(&(apart * over.unsqueeze(-1)));
            let grad = force + &rows * self.trap + (centre.unsqueeze(1) * (1.0 - self.trap));
            let u = self.of_parts(&pairs, &rows, &centre);
            Evaluation::new(x.shallow_clone(), u, grad.view([-1, self.dim()]))
        })
    }
}
