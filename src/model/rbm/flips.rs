//! Compare free energies of binary machines with those of rows in which one bit is another, in closed form.

use super::Units;
use super::binary::softplus_sum;
use crate::density::{Layers, Weigh, add};
use tch::{Kind, Tensor};

/// Hidden inputs of neighbours in one block of rows.
const BLOCK: i64 = 1 << 20;

impl Units {
    /// [`Model::flips`](crate::Model::flips) of rows v `[n, d_v]` of zeros and ones. With s_j = 1 − 2v_j,
    ///
    /// ```text
    /// Δ_j = F(v with v_j flipped) − F(v) = −b_j s_j − Σ_i [log(1 + e^{a_i + s_j W_ji}) − log(1 + e^{a_i})]
    /// ```
    ///
    /// at d_h operations each, where the energy of a neighbour takes d_v d_h.
    pub(super) fn flips(&self, v: &Tensor, units: &[i64], weigh: &mut Weigh) -> Vec<Tensor> {
        let (k, dh) = (units.len() as i64, self.dims().1);
        let which = Tensor::from_slice(units).to_device(v.device());
        let (w, b) = (self.w.index_select(0, &which), self.b.index_select(0, &which));
        let mut total = Vec::new();
        for v in v.split((BLOCK / (k * dh)).max(1), 0) {
            let (r, a) = (v.size()[0], self.hidden_input(&v));
            let s: Tensor = 1.0 - v.index_select(1, &which) * 2.0;
            let moved = (a.unsqueeze(1) + s.unsqueeze(-1) * &w).view([r * k, dh]);
            let field = (&s * &b).to_kind(Kind::Double);
            let delta = softplus_sum(&a).unsqueeze(-1) - softplus_sum(&moved).view([r, k]) - field;
            let Some(weights) = weigh(&delta) else { continue };
            let weights = weights.to_kind(v.kind());
            let turned = &weights * &s;
            let mean = moved.sigmoid().view([r, k, dh]);
            let sum = |t: Tensor, dim: i64| t.sum_dim_intlist(dim, false, None::<Kind>);
            // Σ_j w_j (σ(a + s_j W_j) − σ(a)) for each row, and Σ_rows w_j s_j σ(a + s_j W_j) for each unit
            let gap =
                sum(&mean * weights.unsqueeze(-1), 1) - a.sigmoid() * sum(weights.shallow_clone(), 1).unsqueeze(-1);
            let own = sum(mean * turned.unsqueeze(-1), 0);
            let by_w = -v.tr().matmul(&gap).index_add(0, &which, &own);
            let by_b = -self.b.zeros_like().index_add(0, &which, &sum(turned, 0));
            add(&mut total, vec![by_w, by_b, -sum(gap, 0)]);
        }
        total
    }
}
