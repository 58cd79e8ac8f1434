//! Student's t distribution.

/// Chance that a t-distributed number with `freedom` degrees of freedom exceeds
/// `t`. Any `freedom` above 0 is allowed: Welch's formula gives fractions.
pub fn tail(t: f64, freedom: f64) -> f64 {
    let half =
        0.5 * incomplete_beta(0.5 * freedom, 0.5, freedom / (freedom + t * t)).clamp(0.0, 1.0);
    if t > 0.0 { half } else { 1.0 - half }
}

/// The number that is exceeded with the chance `chance`, from 0 to ½.
pub fn quantile(chance: f64, freedom: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while tail(high, freedom) > chance && high < 1e12 {
        high *= 2.0;
    }
    while high - low > 1e-12 * high {
        let middle = 0.5 * (low + high);
        if tail(middle, freedom) > chance {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The regularised incomplete beta function, by its continued fraction with the
/// method of Lentz: Abramowitz and Stegun, Handbook of Mathematical Functions,
/// 26.5.8; DLMF 8.17.22.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction converges fast on one side of its mean only: DLMF 8.17.4.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    const TINY: f64 = 1e-300;
    let guard = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut numerator = 1.0;
    let mut denominator = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = denominator;
    for step in 1..10_000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for coefficient in [even, odd] {
            denominator = 1.0 / guard(1.0 + coefficient * denominator);
            numerator = guard(1.0 + coefficient / numerator);
            fraction *= denominator * numerator;
        }
        if (denominator * numerator - 1.0).abs() < 1e-15 {
            break;
        }
    }
    let log_beta = log_gamma(a) + log_gamma(b) - log_gamma(a + b);
    (a * x.ln() + b * (-x).ln_1p() - log_beta).exp() * fraction / a
}

/// Logarithm of the gamma function for positive numbers: Stirling's series
/// (DLMF 5.11.1), moved up to where its first terms are enough.
fn log_gamma(x: f64) -> f64 {
    let mut x = x;
    let mut moved = 0.0;
    while x < 15.0 {
        moved += x.ln();
        x += 1.0;
    }
    let square = x * x;
    let series = (1.0 / 12.0
        - (1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / (1680.0 * square)) / square) / square)
        / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - moved
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the tables in textbooks: chance above, degrees of freedom, t.
    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (chance, freedom, t) in [
            (0.025, 1.0, 12.706),
            (0.025, 2.0, 4.303),
            (0.025, 6.0, 2.447),
            (0.01, 8.0, 2.896),
            (0.005, 12.0, 3.055),
            (0.0005, 12.0, 4.318),
            (0.05, 30.0, 1.697),
            (0.025, 1e7, 1.960),
        ] {
            let found = quantile(chance, freedom);
            assert!((found - t).abs() < 6e-4 * t, "{chance} {freedom}: {found}");
            assert!((tail(found, freedom) - chance).abs() < 1e-9);
            assert!((tail(-found, freedom) - (1.0 - chance)).abs() < 1e-9);
        }
        assert_eq!(tail(0.0, 5.0), 0.5);
        // Cauchy's distribution in closed form, far out.
        let exact = 0.5 - (1e6_f64).atan() / std::f64::consts::PI;
        assert!((tail(1e6, 1.0) / exact - 1.0).abs() < 1e-4);
        assert!((log_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-12);
        assert!((log_gamma(11.0) - 3_628_800_f64.ln()).abs() < 1e-10);
    }
}
