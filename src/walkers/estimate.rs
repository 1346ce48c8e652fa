//! Hold a number with its standard error, and write it with as many digits as the error leaves.

/// A number with its standard error.
///
/// ```
/// use jarzynski::Estimate;
/// let text = |value, se| Estimate { value, se }.to_string();
/// assert_eq!(text(0.438453, 0.001961), "0.4385 ± 0.0020");
/// assert_eq!(text(0.438453, f64::NAN), "0.43845");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// One standard error; NaN where none can be given.
    pub se: f64,
}

/// Two to three digits of the error, and the value to the same place; the value alone where no error is known.
impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.se > 0.0 && self.se.is_finite();
        let places = if known { (2.0 - self.se.log10().ceil()).clamp(0.0, 15.0) as usize } else { 5 };
        write!(f, "{:.places$}", self.value)?;
        if self.se.is_nan() { Ok(()) } else { write!(f, " ± {:.places$}", self.se) }
    }
}
