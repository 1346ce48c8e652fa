//! Make the row of one update, and say how far the run is.

use super::Session;
use crate::energy::{CURVATURE_PASSES, curvature};
use crate::kernel::Cost;
use crate::train::{Method, Observer, View};
use crate::{Kernel, Model, Walkers};

impl<K: Kernel<M>, M: Model> Session<'_, K, M> {
    pub(super) fn record(
        &mut self,
        k: usize,
        lr: f64,
        [energy_data, energy_walkers, acceptance, grad_norm]: [f64; 4],
        observe: &mut Observer<M>,
    ) {
        let h_curvature = self.h_curvature(k);
        let since = std::mem::take(&mut self.since);
        let weighted = matches!(self.trainer.method, Method::Jarzynski { .. });
        let walkers = &self.population.walkers;
        let monitor = self.monitor.as_ref().map(|m| &m.walkers);
        let nan = crate::Estimate { value: f64::NAN, se: f64::NAN };
        let log_z = if weighted { walkers.log_z() } else { nan };
        let log_z_monitor = monitor.map_or(nan, Walkers::log_z);
        let exact = self.model.log_z_exact().unwrap_or(f64::NAN);
        let per_update = |v: f64| if since.updates > 0 { v / since.updates as f64 } else { f64::NAN };
        let mut row = vec![
            ("step".to_string(), k as f64),
            ("lr".into(), lr),
            ("energy_data".into(), energy_data),
            ("energy_walkers".into(), energy_walkers),
            ("cross_entropy".into(), log_z.value + energy_data),
            ("cross_entropy_monitor".into(), log_z_monitor.value + energy_data),
            ("cross_entropy_exact".into(), exact + energy_data),
            ("log_z".into(), log_z.value),
            ("log_z_se".into(), log_z.se),
            ("log_z_monitor".into(), log_z_monitor.value),
            ("log_z_monitor_se".into(), log_z_monitor.se),
            ("log_z_exact".into(), exact),
            ("ess".into(), if weighted { walkers.ess() } else { f64::NAN }),
            ("ess_monitor".into(), monitor.map_or(f64::NAN, Walkers::ess)),
            ("resampled".into(), if weighted { since.resampled as f64 } else { f64::NAN }),
            ("resampled_monitor".into(), monitor.map_or(f64::NAN, |_| since.resampled_monitor as f64)),
            ("fraction".into(), per_update(since.fraction)),
            ("trials".into(), since.trials as f64),
            ("legs".into(), since.legs as f64),
            ("acceptance".into(), acceptance),
            ("h_curvature".into(), h_curvature),
            ("grad_norm".into(), grad_norm),
            ("forward".into(), since.cost.forward as f64),
            ("backward".into(), since.cost.backward as f64),
            ("seconds".into(), self.seconds()),
        ];
        row.extend(observe(&View { step: k, model: self.model, walkers, monitor }));
        self.recorder.push(row);
    }

    /// h λ_max for kernels with such a bound, at every 50th row and at few walkers: a thousandth of a run's passes.
    fn h_curvature(&mut self, k: usize) -> f64 {
        let walkers = &self.population.walkers;
        match self.trainer.kernel.bounded_step() {
            Some(h) if k.is_multiple_of(50 * self.trainer.settings.every) => {
                let few = walkers.len().min(16);
                self.since.cost += Cost::evaluation(few * CURVATURE_PASSES);
                h * curvature(self.model, &walkers.x().narrow(0, 0, few as i64))
            }
            _ => f64::NAN,
        }
    }

    pub(super) fn speak(&mut self, k: usize) {
        let recorder = &self.recorder;
        self.progress.at(k, || {
            let known = |(label, name): (&str, &str)| {
                let value = recorder.last(name).filter(|v| v.is_finite());
                value.map(|v| format!("{label} {v:.3}"))
            };
            let wanted = [("H", "cross_entropy_monitor"), ("U data", "energy_data"), ("ESS", "ess")];
            let said: Vec<String> = wanted.into_iter().filter_map(known).collect();
            // of an unweighted run the energy is all there is
            let skip = usize::from(said.len() == 3);
            said.iter()
                .enumerate()
                .filter(|(i, _)| skip == 0 || *i != 1)
                .map(|(_, s)| s.as_str())
                .collect::<Vec<_>>()
                .join("  ")
        });
    }
}
