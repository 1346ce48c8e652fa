//! Write down what the next update depends on, and take it up again.

use super::Session;
use crate::checkpoint::Checkpoint;
use crate::energy::save_parameters;
use crate::{Error, Kernel, Model, Result};
use tch::Tensor;

impl<K: Kernel<M>, M: Model> Session<'_, K, M> {
    /// Writes what the next update depends on.
    pub(super) fn save(&self, to: &mut Checkpoint) -> Result<()> {
        save_parameters(self.model.vars(), to);
        let (steps, memory) = self.optimiser.state();
        to.put_json("optimiser", &steps)?;
        memory.iter().for_each(|(name, t)| to.put(format!("optimiser.{name}"), t));
        self.population.save(to, "walkers")?;
        if let Some(monitor) = &self.monitor {
            monitor.save(to, "monitor")?;
        }
        to.put_json("data.rng", &self.data_rng)?;
        to.put("data.order", &self.order);
        to.put_json("since", &self.since)?;
        let acceptance = self.since.acceptance.as_ref().map_or(f64::NAN, |a| a.double_value(&[]));
        to.put_numbers("since", &[self.since.fraction, acceptance]);
        Ok(())
    }

    /// Takes up what [`save`](Session::save) wrote; parameters and walkers are there already.
    pub(super) fn restore(&mut self, found: &Checkpoint) -> Result<()> {
        self.optimiser.restore(found.json("optimiser")?, |name| found.get(&format!("optimiser.{name}")))?;
        self.data_rng = found.json("data.rng")?;
        let (order, n) = (found.get("data.order")?, self.data.size()[0]);
        if let Some(row) = Vec::<i64>::try_from(&order)?.into_iter().find(|row| !(0..n).contains(row)) {
            return Err(Error::param("data.order", row, format!("a row of the data, 0 to {}", n - 1)));
        }
        self.order = order.to_device(self.data.device());
        self.since = found.json("since")?;
        let [fraction, acceptance] = found.numbers("since")?;
        self.since.fraction = fraction;
        self.since.acceptance = Some(acceptance).filter(|a| !a.is_nan()).map(Tensor::from);
        self.next = found.json("step")?;
        if let Some(keeper) = &mut self.keeper {
            self.recorder = keeper.recorded(found)?;
        }
        Ok(())
    }
}
