//! Count or measure what an evaluation costs, so that schemes can be compared.

use crate::density::Flow;
use crate::error::{Error, Result};
use crate::io::frame;
use crate::numeric::Rng;
use crate::run::Run;
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// What one row costs, in any unit: evaluations by default, seconds by [`CostModel::measured`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostModel {
    /// U.
    pub forward: f64,
    /// ∇U after U.
    pub backward: f64,
    /// b.
    pub drift: f64,
    /// b with its Jacobian.
    pub jacobian: f64,
}

impl CostModel {
    /// 1 for U, ∇U and b each, 1 + d for b with its Jacobian: d tangents beside each row.
    pub fn counted(d: i64) -> Self {
        CostModel { forward: 1.0, backward: 1.0, drift: 1.0, jacobian: 1.0 + d as f64 }
    }

    /// Seconds per row on this machine, each the least of five calls on `rows` rows. Not reproducible bit by bit.
    ///
    /// # Errors
    /// `Param` for no rows.
    pub fn measured<P: Flow>(path: &P, rows: usize) -> Result<Self> {
        if rows == 0 {
            return Err(Error::param("rows", 0, "at least 1"));
        }
        let x = path.base().sample(rows, &mut Rng::new(0));
        let least = |f: &dyn Fn() -> Tensor| {
            let once = |_| {
                let start = std::time::Instant::now();
                let out = f();
                // a device has computed it only when a number of it can be read
                out.double_value(&vec![0; out.dim()]);
                start.elapsed().as_secs_f64()
            };
            (0..5).map(once).fold(f64::INFINITY, f64::min) / rows as f64
        };
        let all = least(&|| path.evaluate(0.5, &x).grad().shallow_clone());
        let forward = least(&|| crate::error::no_grad(|| path.energy(0.5, &x))).min(0.5 * all);
        Ok(CostModel {
            forward,
            backward: all - forward,
            drift: least(&|| crate::error::no_grad(|| path.velocity(0.5, &x))),
            jacobian: least(&|| path.linearise(0.5, &x).1),
        })
    }

    /// The cost of a whole run per walker, in the unit of these numbers.
    ///
    /// # Errors
    /// `Param` for a run that does not record its evaluations.
    pub fn of(&self, run: &Run) -> Result<f64> {
        let n = run.walkers.len() as f64;
        let total = |name: &str| frame::column_f64(&run.stats, name).map(|v| v.iter().sum::<f64>() / n);
        Ok(self.forward * total("forward")?
            + self.backward * total("backward")?
            + self.drift * total("drift")?
            + self.jacobian * total("jacobian")?)
    }
}
