//! Checkpoints in every layout.

use clip_backbone::Activation;
use clip_backbone::pixels::{Picture, Resizer};
use clip_backbone::{Checkpoint, Config, Usage};
use tch::{Device, Kind, Tensor};

fn unit(x: &Tensor) -> Tensor {
    let x = x.to_kind(Kind::Float);
    &x / x.norm_scalaropt_dim(2, [-1], true)
}

#[test]
fn a_preset_lists_every_parameter_of_the_paper_s_backbone() {
    let count: i64 = Config::vit_b_16()
        .parameters()
        .iter()
        .map(|(_, shape)| shape.iter().product::<i64>())
        .sum();
    assert_eq!(count, 149_620_737);
    assert_eq!(
        Config::preset("ViT-L/14@336px"),
        Some(Config::vit_l_14_336())
    );
    assert_eq!(Config::preset("RN50"), None);
}

mod needs_shared {
    use super::*;

    #[test]
    #[ignore = "needs reference data: ../shared or SIF_SHARED"]
    fn a_real_open_clip_folder_answers_in_both_precisions() {
        let shared = testkit::shared();
        let _guard = tch::no_grad_guard();
        let checkpoint = Checkpoint::open(shared.join("data/weights/deit-tiny-dual")).unwrap();
        let config = checkpoint.config();
        assert_eq!((config.joint_width, config.vision.layers), (192, 12));
        assert!(!config.vision.norm_before);
        assert_eq!(config.vision.activation, Activation::Gelu);
        assert_eq!(checkpoint.preprocess().mean, [0.485, 0.456, 0.406]);
        assert_eq!(checkpoint.sha256().unwrap().len(), 64);

        let vocabulary = shared.join("data/vocab/bpe_simple_vocab_16e6.txt.gz");
        let tokenizer = checkpoint.tokenizer_from(&vocabulary).unwrap();
        // ImageNet class names: text and picture towers share their rows.
        let texts = [
            "a tabby cat",
            "a golden retriever",
            "a sports car",
            "a banana",
        ];
        let ids = tokenizer.encode_batch(&texts);
        // A yellow disc on white: of these four, a banana.
        let picture: Vec<u8> = (0..240 * 320)
            .flat_map(|i| {
                let (y, x) = ((i / 320) as f64 - 120.0, (i % 320) as f64 - 160.0);
                let arc = (x * x / 3.0 + (y + 30.0) * (y + 30.0)).sqrt();
                match (45.0..75.0).contains(&arc) && y > -20.0 {
                    true => [240u8, 210, 60],
                    false => [250, 250, 250],
                }
            })
            .collect();
        let picture = Picture::new(320, 240, picture).unwrap();
        let preprocess = checkpoint.preprocess();
        let frame = preprocess.crop(&mut Resizer::new(), &picture).unwrap();
        let frame = Tensor::from_slice(frame.rgb()).view([1, 224, 224, 3]);
        let pixels = checkpoint.preprocess().normalise(&frame).unwrap();

        let mut scores = Vec::new();
        for kind in [Kind::Float, Kind::BFloat16] {
            let clip = checkpoint.load(Usage::Frozen, Device::Cpu, kind).unwrap();
            let image = unit(&clip.vision.forward(&pixels).unwrap());
            let text = unit(&clip.text.forward(&ids).unwrap());
            let cosines = image.matmul(&text.tr());
            assert!(bool::try_from(cosines.isfinite().all()).unwrap());
            assert_eq!(cosines.argmax(-1, false).int64_value(&[0]), 3, "{cosines}");
            scores.push(cosines);
        }
        let gap = (&scores[0] - &scores[1]).abs().max().double_value(&[]);
        assert!(gap < 0.02, "bf16 differs from fp32 by {gap}");
    }
}
