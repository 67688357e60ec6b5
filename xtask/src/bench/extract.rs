//! `extract`, compared with each of its two stages alone, which shows if one waits for the other.

use super::predict::checkpoint;
use super::{Bench, Result, machine, reference_data};

/// The clips of a row with ViT-B/16, and with the small encoder.
const CLIPS: (&str, &str) = ("24", "96");

pub(super) fn table(bench: &Bench<'_>) -> Result<String> {
    let data = reference_data(bench.root);
    let Ok(data) = data.canonicalize() else {
        return Ok("Skipped: there are no reference data.".into());
    };
    let mut text = String::from(
        "Clips of UCF-101, 8 frames, one view, a decoding worker per core beside the tower; clips/s, \
         medians. A stage alone has the whole machine.\n\n\
         | encoder | precision | tower alone | decoding alone | extract | share of the slower stage |\n\
         |---|---|---|---|---|---|\n",
    );
    let rounds = bench.rounds.to_string();
    let (large, small) = CLIPS;
    for (name, weights, precision, clips) in [
        ("ViT-B/16", checkpoint(bench)?, "fp32", large),
        ("ViT-B/16", checkpoint(bench)?, "bf16", large),
        (
            "DeiT-Tiny",
            data.join("weights/deit-tiny-dual"),
            "fp32",
            small,
        ),
    ] {
        if !machine::precisions().contains(&precision) {
            continue;
        }
        let paths = [
            data.join("ucf8/UCF-101"),
            data.join("lists/ucfTrainTestlist"),
            weights,
        ];
        let paths = paths.map(|path| path.display().to_string());
        let [videos, lists, weights] = paths.each_ref().map(String::as_str);
        let arguments = [videos, lists, weights, precision, clips, &rounds];
        let row = bench.printed("clips", "extract", &arguments)?;
        text += &format!("| {name} {row}");
    }
    Ok(text)
}
