//! Prices of logic by least squares.

use crate::sampling::Sample;
use lutweave_experiments::Fallible;
use lutweave_hw::cost::Term;
use lutweave_hw::family::Family;
use std::path::Path;

/// Passes over all prices.
const PASSES: usize = 4000;

/// Every so manieth module is held out.
const HELD_OUT: usize = 4;

/// Look-up tables of a module below which errors weigh the same.
const SMALL: f64 = 40.0;

/// How errors weigh less in larger modules: between 0, where look-up tables count, and 1, where shares do.
const RELATIVE: f64 = 0.8;

/// How firmly prices are held to what is expected of them: modules alone do not tell apart what always comes together.
const FIRMNESS: f64 = 0.25;

/// Look-up tables that are expected of a kind of logic: of six inputs, or of four.
fn expected(term: Term, family: &Family) -> f64 {
    let [six, four] = match term {
        Term::Module => [5.0, 5.0],
        Term::Add | Term::Multiple | Term::Bank | Term::Clamp | Term::Address | Term::Tree => [1.0, 1.0],
        Term::AddConstant | Term::Mask | Term::Rows => [0.7, 0.7],
        Term::Compare => [0.7, 1.0],
        Term::CompareConstant => [0.25, 0.4],
        Term::Mux => [0.6, 0.9],
        Term::MuxConstant => [0.5, 0.7],
        Term::Select => [1.2, 1.5],
        Term::Gate => [0.5, 0.6],
        Term::Shift | Term::Branch | Term::Set | Term::Stage | Term::Position => [0.5, 0.5],
        Term::Rom => [0.8, 0.8],
        Term::SetConstant => [0.2, 0.2],
        Term::SetAgain => [0.5, 0.7],
        Term::Engine => [10.0, 10.0],
        Term::Tap | Term::Load => [2.0, 2.0],
        Term::Padding => [0.1, 0.1],
        Term::Accumulator => [1.5, 1.5],
        Term::Paired => [0.2, 1.0],
    };
    if family.lut_inputs >= 6 { six } else { four }
}

/// Fits the prices of a family, writes them into its file in `folder`, and prints how far off they are: on modules that
/// were held out, and on all.
pub fn fit(family: &Family, samples: &[Sample], folder: &Path) -> Fallible<()> {
    let number = |held: bool| {
        let chosen = samples.iter().enumerate().filter(move |(at, _)| (at % HELD_OUT == 0) == held);
        chosen.map(|(_, sample)| sample).collect::<Vec<_>>()
    };
    report(&format!("{}, held out", family.name), &prices(family, &number(false)), &number(true));
    let all: Vec<&Sample> = samples.iter().collect();
    let prices = prices(family, &all);
    report(&format!("{}, all", family.name), &prices, &all);
    let file = folder.join(format!("{}.toml", family.name));
    let text = std::fs::read_to_string(&file)?;
    let before = text.split("\n[luts]").next().unwrap_or_default();
    let lines: Vec<String> = Term::ALL
        .iter()
        .zip(&prices)
        .map(|(term, price)| format!("{} = {}\n", term.key(), (1000.0 * price).round() as u64))
        .collect();
    std::fs::write(&file, format!("{}\n\n[luts]\n{}", before.trim_end(), lines.concat()))?;
    Ok(())
}

/// Prices that are at least zero, of least squared error by the size of each module, scaled so that all modules together
/// are met.
fn prices(family: &Family, samples: &[&Sample]) -> Vec<f64> {
    let weight = |sample: &Sample| 1.0 / (sample.found.lut as f64).max(SMALL).powf(RELATIVE);
    let amount = |sample: &Sample, term: usize| sample.count.logic[Term::ALL[term]] as f64 * weight(sample);
    let expected: Vec<f64> = Term::ALL.iter().map(|&term| expected(term, family)).collect();
    let mut prices = expected.clone();
    let mut rest: Vec<f64> = samples
        .iter()
        .map(|sample| {
            logic(sample) * weight(sample) - (0..prices.len()).map(|t| prices[t] * amount(sample, t)).sum::<f64>()
        })
        .collect();
    // Coordinate descent: one price after the other.
    for _ in 0..PASSES {
        for (term, price) in prices.iter_mut().enumerate() {
            let amounts: Vec<f64> = samples.iter().map(|sample| amount(sample, term)).collect();
            let firmness = FIRMNESS / (expected[term] * expected[term]);
            let slope: f64 = amounts.iter().zip(&rest).map(|(amount, rest)| amount * rest).sum();
            let bend: f64 = amounts.iter().map(|amount| amount * amount).sum::<f64>() + firmness;
            let next = (*price + (slope - firmness * (*price - expected[term])) / bend).max(0.0);
            let change = next - *price;
            rest.iter_mut().zip(&amounts).for_each(|(rest, amount)| *rest -= change * amount);
            *price = next;
        }
    }
    let found: f64 = samples.iter().map(|sample| logic(sample)).sum();
    let met: f64 = samples.iter().map(|sample| estimate(sample, &prices) - sample.count.parts.lut as f64).sum();
    prices.iter().map(|price| price * found / met).collect()
}

/// Look-up tables of a sample's logic, memories left out.
fn logic(sample: &Sample) -> f64 {
    sample.found.lut as f64 - sample.count.parts.lut as f64
}

fn estimate(sample: &Sample, prices: &[f64]) -> f64 {
    let logic = Term::ALL.iter().zip(prices).map(|(&term, price)| sample.count.logic[term] as f64 * price);
    sample.count.parts.lut as f64 + logic.sum::<f64>()
}

/// Prints the errors.
fn report(what: &str, prices: &[f64], samples: &[&Sample]) {
    let error = |sample: &&Sample| estimate(sample, prices) / (sample.found.lut as f64).max(1.0) - 1.0;
    let mut errors: Vec<f64> = samples.iter().map(|sample| error(sample).abs()).collect();
    errors.sort_by(f64::total_cmp);
    let [estimated, found]: [f64; 2] = [
        samples.iter().map(|sample| estimate(sample, prices)).sum(),
        samples.iter().map(|sample| sample.found.lut as f64).sum(),
    ];
    let share = |part: f64| errors.get((errors.len() as f64 * part) as usize).unwrap_or(&0.0) * 100.0;
    println!(
        "{what}: {} modules, median error {:.1} %, nine of ten within {:.1} %; all together {:+.1} %",
        samples.len(),
        share(0.5),
        share(0.9),
        (estimated / found - 1.0) * 100.0
    );
}
