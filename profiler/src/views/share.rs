//! Shares that add up.

/// Splits `parts` (1,000 for tenths of a percent) among `weights`, each getting
/// its share rounded down or up so that all together are exactly `parts`; none
/// when all weights are zero. Rounding each share alone makes a table of 99.9
/// or 100.2 percent, and its reader looks for what is missing.
pub fn shares(weights: &[u64], parts: u64) -> Vec<u64> {
    let total: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    if total == 0 {
        return vec![0; weights.len()];
    }
    let exact = |weight: u64| u128::from(weight) * u128::from(parts);
    let mut shares: Vec<u64> = weights
        .iter()
        .map(|&weight| (exact(weight) / total) as u64)
        .collect();
    let missing = parts - shares.iter().sum::<u64>();
    // What is missing is less than one for each row: it goes to the largest
    // remainders, the first of equal ones, so the order of a table stays right.
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(exact(weights[index]) % total));
    for &index in order.iter().take(missing as usize) {
        shares[index] += 1;
    }
    shares
}

/// A share in tenths of a percent as text. What is there but rounds to nothing
/// does not read as nothing.
pub fn share_text(tenths: u64, weight: u64) -> String {
    if tenths == 0 && weight > 0 {
        return "<0.1 %".to_string();
    }
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// `part` of `whole` in percent, 0 of nothing.
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 * 100.0 / whole as f64
}

/// Shares of a column in percent, hundredths of one, which add up to 100.
pub fn percents(weights: impl IntoIterator<Item = u64>) -> Vec<f64> {
    let weights: Vec<u64> = weights.into_iter().collect();
    shares(&weights, 10_000)
        .into_iter()
        .map(|part| part as f64 / 100.0)
        .collect()
}

/// `part` of `whole` in percent, rounded to what a reader can use: the exact
/// numbers are beside it.
pub fn rounded_percent(part: u64, whole: u64) -> f64 {
    (percent(part, whole) * 100.0).round() / 100.0
}
