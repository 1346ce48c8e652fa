//! Say how much of a distribution walkers cover, by exact draws of it: neighbourhoods of draws that hold a walker.

use super::{Estimate, Walkers};
use crate::error::{Error, Result, guard};
use crate::numeric::Rng;
use tch::{Device, Kind, Tensor};

/// Draws whose distances are computed at once.
const BLOCK: i64 = 256;

/// The share of exact draws near which there are walkers, and what it would be if walkers were exact draws too; the result of
/// [`Walkers::coverage`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Coverage {
    /// The share of draws with a walker at most as far as the k-th nearest of the other draws.
    pub share: f64,
    /// Its expectation for as many independent walkers from the same distribution.
    pub expected: f64,
}

impl Walkers {
    /// Coverage (Naeem, Oh, Uh, Choi, Yoo 2020, arXiv 2002.09797) of exact `draws` `[m, d]` of the target by as many equally weighted draws from the
    /// walkers: the share of draws with one of those at most as far as the `k`-th nearest other draw.
    ///
    /// ```text
    /// expected share = 1 − Π_{j<k} (m − 1 − j)/(2m − 1 − j)
    /// ```
    ///
    /// A mode that walkers miss has none near its draws, however even the weights are: its mass is missing from the share. Walkers
    /// of few ancestors count once each, which lowers the share too.
    ///
    /// # Errors
    /// Draws of another width or not finite, fewer than k + 1; k = 0; no walkers.
    ///
    /// ```
    /// use jarzynski::{Base, Rng, Walkers, model::Gaussian};
    /// # fn main() -> jarzynski::Result<()> {
    /// let normal = Gaussian::new(&[0.0; 2], &[1.0; 2])?;
    /// let walkers = Walkers::start_from(&normal, &normal, 500, false, &mut Rng::new(0))?;
    /// let found = walkers.coverage(&normal.sample(500, &mut Rng::new(1)), 5, &mut Rng::new(2))?;
    /// assert!((found.share - found.expected).abs() < 0.05 && (found.expected - 0.97).abs() < 0.01);
    /// # Ok(()) }
    /// ```
    pub fn coverage(&self, draws: &Tensor, k: usize, rng: &mut Rng) -> Result<Coverage> {
        if self.is_empty() {
            return Err(Error::param("walkers", 0, "at least 1"));
        }
        crate::density::check_rows("draws", draws, self.x().size()[1])?;
        let m = draws.size()[0];
        if k == 0 || k as i64 >= m {
            return Err(Error::param("k", k, format!("from 1 to {}, one less than the draws", m - 1)));
        }
        let host = |x: &Tensor| x.detach().to_kind(Kind::Double).to_device(Device::Cpu);
        let (draws, ours) = (host(draws), host(&self.samples(m as usize, rng)));
        let held = guard(|| {
            let mut held = 0.0;
            for first in (0..m).step_by(BLOCK as usize) {
                let some = draws.narrow(0, first, BLOCK.min(m - first));
                // the draw itself is the nearest
                let radius = Tensor::cdist(&some, &draws, 2.0, None).kthvalue(k as i64 + 1, 1, false).0;
                let nearest = Tensor::cdist(&some, &ours, 2.0, None).amin([1], false);
                held += nearest.le_tensor(&radius).to_kind(Kind::Double).sum(Kind::Double).double_value(&[]);
            }
            Ok(held)
        })?;
        let m = m as f64;
        let alone: f64 = (0..k).map(|j| (m - 1.0 - j as f64) / (2.0 * m - 1.0 - j as f64)).product();
        Ok(Coverage { share: held / m, expected: 1.0 - alone })
    }

    /// The mass of each mode under the weights, for rows `of` `[n, modes]` that say which mode a walker belongs to (responsibilities
    /// or zeros and ones), and the entropy of these masses in units of log(modes): 1 where all are equal, the entropic mode coverage
    /// of Blessing et al. 2024 (arXiv 2406.07423) for modes of equal mass.
    ///
    /// # Errors
    /// Another number of rows than walkers, fewer than two modes.
    pub fn mode_masses(&self, of: &Tensor) -> Result<(Vec<Estimate>, f64)> {
        let size = of.size();
        let expected = || format!("[{}, modes] with at least two modes", self.len());
        let modes = match size[..] {
            [n, modes] if n == self.len() as i64 && modes >= 2 => modes,
            _ => return Err(Error::Shape { name: "modes of the walkers", got: size, expected: expected() }),
        };
        let masses = (0..modes).map(|j| self.mean(&of.select(1, j).to_kind(Kind::Double)));
        let masses = masses.collect::<Result<Vec<Estimate>>>()?;
        let entropy: f64 = masses.iter().map(|m| m.value).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
        Ok((masses, entropy / (modes as f64).ln()))
    }
}
