//! The wheels that libtorch is taken from, pinned by content.
//!
//! `torch` 2.13.0 requires `cuda-toolkit` 13.0.3 with eleven of its parts and four packages
//! besides; the lists below are what those requirements come to on Linux, without the two
//! that only Python needs (`cuda-bindings`, `triton`). The first three of a list are all
//! that the CPU libraries ask for.

use crate::registry::Wheel;

/// The wheels for a system, the CPU's own first.
#[derive(Debug, Clone, Copy)]
pub struct Pins {
    /// What the CPU libraries need.
    pub cpu: &'static [Wheel],
    /// What CUDA needs beside it; empty where there is no CUDA.
    pub cuda: &'static [Wheel],
}

/// The pins for an operating system and processor, as `std::env::consts` names them.
#[must_use]
pub fn pins(os: &str, arch: &str) -> Option<Pins> {
    match (os, arch) {
        ("linux", "x86_64") => Some(Pins {
            cpu: &LINUX_X86_64.0,
            cuda: &LINUX_X86_64.1,
        }),
        ("linux", "aarch64") => Some(Pins {
            cpu: &LINUX_AARCH64.0,
            cuda: &LINUX_AARCH64.1,
        }),
        ("macos", "aarch64") => Some(Pins {
            cpu: &MACOS_AARCH64,
            cuda: &[],
        }),
        _ => None,
    }
}

/// OpenAI's vocabulary travels in this one.
pub const OPEN_CLIP: Wheel = wheel(
    "open-clip-torch",
    "3.3.0",
    "open_clip_torch-3.3.0-py3-none-any.whl",
    "c549ad5ed6bfc119cc11105033c0a2b9d7a2a4afeb40a58a09aab3da1a0043ce",
    1_547_268,
);

const fn wheel(
    package: &'static str,
    version: &'static str,
    file: &'static str,
    sha256: &'static str,
    bytes: u64,
) -> Wheel {
    Wheel {
        package,
        version,
        file,
        sha256,
        bytes,
    }
}

const LINUX_X86_64: ([Wheel; 3], [Wheel; 13]) = (
    [
        wheel(
            "torch",
            "2.13.0",
            "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl",
            "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7",
            526_574_961,
        ),
        wheel(
            "nvidia-cuda-runtime",
            "13.0.96",
            "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
            2_243_632,
        ),
        wheel(
            "nvidia-cuda-cupti",
            "13.0.85",
            "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
            "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
            10_715_597,
        ),
    ],
    [
        wheel(
            "nvidia-cublas",
            "13.1.1.3",
            "nvidia_cublas-13.1.1.3-py3-none-manylinux_2_27_x86_64.whl",
            "37936a16db8fe4ac1f065c2139360608a543a09275cb1a1af612e08cfa065436",
            423_138_758,
        ),
        wheel(
            "nvidia-cuda-nvrtc",
            "13.0.88",
            "nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
            "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
            90_215_200,
        ),
        wheel(
            "nvidia-cufft",
            "12.0.0.61",
            "nvidia_cufft-12.0.0.61-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
            214_085_489,
        ),
        wheel(
            "nvidia-nvjitlink",
            "13.0.88",
            "nvidia_nvjitlink-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
            "13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b",
            40_713_933,
        ),
        wheel(
            "nvidia-cufile",
            "1.15.1.6",
            "nvidia_cufile-1.15.1.6-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
            1_223_672,
        ),
        wheel(
            "nvidia-curand",
            "10.4.0.35",
            "nvidia_curand-10.4.0.35-py3-none-manylinux_2_27_x86_64.whl",
            "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
            59_544_258,
        ),
        wheel(
            "nvidia-cusolver",
            "12.0.4.66",
            "nvidia_cusolver-12.0.4.66-py3-none-manylinux_2_27_x86_64.whl",
            "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
            200_941_980,
        ),
        wheel(
            "nvidia-cusparse",
            "12.6.3.3",
            "nvidia_cusparse-12.6.3.3-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
            145_942_937,
        ),
        wheel(
            "nvidia-nvtx",
            "13.0.85",
            "nvidia_nvtx-13.0.85-py3-none-manylinux1_x86_64.manylinux_2_5_x86_64.whl",
            "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4",
            148_047,
        ),
        wheel(
            "nvidia-cudnn-cu13",
            "9.20.0.48",
            "nvidia_cudnn_cu13-9.20.0.48-py3-none-manylinux_2_27_x86_64.whl",
            "0c45dd8eeb50b603f07995b1b300c62ffe6a1980482b82b3bcf94a4ca9d49304",
            366_173_588,
        ),
        wheel(
            "nvidia-cusparselt-cu13",
            "0.8.1",
            "nvidia_cusparselt_cu13-0.8.1-py3-none-manylinux2014_x86_64.whl",
            "786ce87568c303fadb5afcc7102d454cd3040d75f6f8626f5db460d1871f4dd0",
            170_148_586,
        ),
        wheel(
            "nvidia-nccl-cu13",
            "2.29.7",
            "nvidia_nccl_cu13-2.29.7-py3-none-manylinux_2_18_x86_64.whl",
            "edd81538446786ec3b73972543e53bb43bcaf0bfc8ef76cb679fcc390ffe136d",
            205_976_000,
        ),
        wheel(
            "nvidia-nvshmem-cu13",
            "3.4.5",
            "nvidia_nvshmem_cu13-3.4.5-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
            60_412_546,
        ),
    ],
);

const LINUX_AARCH64: ([Wheel; 3], [Wheel; 13]) = (
    [
        wheel(
            "torch",
            "2.13.0",
            "torch-2.13.0-cp311-cp311-manylinux_2_28_aarch64.whl",
            "092790c696a760c729fd5722835f50b9d81fd7c8f141571f3f3cf4081a8f664c",
            427_199_369,
        ),
        wheel(
            "nvidia-cuda-runtime",
            "13.0.96",
            "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
            "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55",
            2_261_060,
        ),
        wheel(
            "nvidia-cuda-cupti",
            "13.0.85",
            "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_aarch64.whl",
            "796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151",
            10_310_827,
        ),
    ],
    [
        wheel(
            "nvidia-cublas",
            "13.1.1.3",
            "nvidia_cublas-13.1.1.3-py3-none-manylinux_2_27_aarch64.whl",
            "b7a210458267ac818974c53038fbec2e969d5c99f305ab15c72522fa9f001dd5",
            542_848_918,
        ),
        wheel(
            "nvidia-cuda-nvrtc",
            "13.0.88",
            "nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
            "d27f20a0ca67a4bb34268a5e951033496c5b74870b868bacd046b1b8e0c3267b",
            43_015_449,
        ),
        wheel(
            "nvidia-cufft",
            "12.0.0.61",
            "nvidia_cufft-12.0.0.61-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
            "2708c852ef8cd89d1d2068bdbece0aa188813a0c934db3779b9b1faa8442e5f5",
            214_053_554,
        ),
        wheel(
            "nvidia-nvjitlink",
            "13.0.88",
            "nvidia_nvjitlink-13.0.88-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
            "e931536ccc7d467a98ba1d8b89ff7fa7f1fa3b13f2b0069118cd7f47bff07d0c",
            38_768_748,
        ),
        wheel(
            "nvidia-cufile",
            "1.15.1.6",
            "nvidia_cufile-1.15.1.6-py3-none-manylinux_2_27_aarch64.whl",
            "bdc0deedc61f548bddf7733bdc216456c2fdb101d020e1ab4b88d232d5e2f6d1",
            1_136_992,
        ),
        wheel(
            "nvidia-curand",
            "10.4.0.35",
            "nvidia_curand-10.4.0.35-py3-none-manylinux_2_27_aarch64.whl",
            "133df5a7509c3e292aaa2b477afd0194f06ce4ea24d714d616ff36439cee349a",
            61_962_106,
        ),
        wheel(
            "nvidia-cusolver",
            "12.0.4.66",
            "nvidia_cusolver-12.0.4.66-py3-none-manylinux_2_27_aarch64.whl",
            "02c2457eaa9e39de20f880f4bd8820e6a1cfb9f9a34f820eb12a155aa5bc92d2",
            223_467_760,
        ),
        wheel(
            "nvidia-cusparse",
            "12.6.3.3",
            "nvidia_cusparse-12.6.3.3-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
            "80bcc4662f23f1054ee334a15c72b8940402975e0eab63178fc7e670aa59472c",
            162_155_568,
        ),
        wheel(
            "nvidia-nvtx",
            "13.0.85",
            "nvidia_nvtx-13.0.85-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
            "cb7780edb6b14107373c835bf8b72e7a178bac7367e23da7acb108f973f157a6",
            148_878,
        ),
        wheel(
            "nvidia-cudnn-cu13",
            "9.20.0.48",
            "nvidia_cudnn_cu13-9.20.0.48-py3-none-manylinux_2_27_aarch64.whl",
            "e31454ae00094b0c55319d9d15b6fa2fc50a9e1c0f5c8c80fb75258234e731e1",
            444_574_296,
        ),
        wheel(
            "nvidia-cusparselt-cu13",
            "0.8.1",
            "nvidia_cusparselt_cu13-0.8.1-py3-none-manylinux2014_aarch64.whl",
            "4dca476c50bf4780d46cd0bfbd82e2bc10a08e4fef7950917ce8d7578d22a23f",
            221_051_344,
        ),
        wheel(
            "nvidia-nccl-cu13",
            "2.29.7",
            "nvidia_nccl_cu13-2.29.7-py3-none-manylinux_2_18_aarch64.whl",
            "674a12383e3c38a1bcccae7d4f3633b37852230b6047883cb2f4c2d1b36d9bf5",
            206_014_712,
        ),
        wheel(
            "nvidia-nvshmem-cu13",
            "3.4.5",
            "nvidia_nvshmem_cu13-3.4.5-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
            "6dc2a197f38e5d0376ad52cd1a2a3617d3cdc150fd5966f4aee9bcebb1d68fe9",
            60_215_947,
        ),
    ],
);

const MACOS_AARCH64: [Wheel; 1] = [wheel(
    "torch",
    "2.13.0",
    "torch-2.13.0-cp311-cp311-macosx_14_0_arm64.whl",
    "e76f9bcecc52b8ff711239a2f7547d5353df95878ab232f0773c1d95928b92f8",
    111_187_938,
)];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn every_pin_is_well_formed_and_of_its_system() {
        for (os, arch, tag) in [
            ("linux", "x86_64", "x86_64.whl"),
            ("linux", "aarch64", "aarch64.whl"),
            ("macos", "aarch64", "arm64.whl"),
        ] {
            let pins = pins(os, arch).unwrap();
            for wheel in pins.cpu.iter().chain(pins.cuda) {
                let name = format!("{}-{}-", wheel.package.replace('-', "_"), wheel.version);
                assert!(wheel.file.starts_with(&name), "{}", wheel.file);
                assert!(wheel.file.ends_with(tag), "{}", wheel.file);
                assert_eq!(wheel.sha256.len(), 64);
                assert!(wheel.bytes > 0);
            }
            assert_eq!(pins.cpu[0].version, crate::setup::libtorch::VERSION);
        }
        assert!(pins("windows", "x86_64").is_none());
    }
}
