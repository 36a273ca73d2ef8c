//! What a prototxt may say: the fields of Caffe's messages and their types (`caffe.proto` of its last release, 1.0, and of the
//! branch after it). A field that is not here is a mistake; one that is here and has no meaning for a net's layers is said so by
//! the reader that meets it.

use Kind::{Bool, Enum, Float, Int, Message, Natural, Text};

/// A field of a message.
#[derive(Debug)]
pub struct FieldSpec {
    pub name: &'static str,
    pub kind: Kind,
    /// Whether it may be given several times.
    pub repeated: bool,
}

/// The type of a field.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Int,
    Natural,
    Float,
    Bool,
    Text,
    /// A name, or its number.
    Enum(&'static [(&'static str, i64)]),
    Message(&'static Schema),
}

/// The fields of a message.
pub type Schema = [FieldSpec];

const fn one(name: &'static str, kind: Kind) -> FieldSpec {
    FieldSpec { name, kind, repeated: false }
}

const fn many(name: &'static str, kind: Kind) -> FieldSpec {
    FieldSpec { name, kind, repeated: true }
}

const ENGINE: FieldSpec = one("engine", Enum(&[("DEFAULT", 0), ("CAFFE", 1), ("CUDNN", 2)]));
const PHASE: Kind = Enum(&[("TRAIN", 0), ("TEST", 1)]);
const POOL_METHOD: Kind = Enum(&[("MAX", 0), ("AVE", 1), ("STOCHASTIC", 2)]);
const DIM_CHECK: Kind = Enum(&[("STRICT", 0), ("PERMISSIVE", 1)]);

static BLOB_SHAPE: &Schema = &[many("dim", Int)];
static BLOB: &Schema = &[
    one("shape", Message(BLOB_SHAPE)),
    many("data", Float),
    many("diff", Float),
    many("double_data", Float),
    many("double_diff", Float),
    one("num", Int),
    one("channels", Int),
    one("height", Int),
    one("width", Int),
];
static FILLER: &Schema = &[
    one("type", Text),
    one("value", Float),
    one("min", Float),
    one("max", Float),
    one("mean", Float),
    one("std", Float),
    one("sparse", Int),
    one("variance_norm", Enum(&[("FAN_IN", 0), ("FAN_OUT", 1), ("AVERAGE", 2)])),
];
static NET_STATE: &Schema = &[one("phase", PHASE), one("level", Int), many("stage", Text)];
static NET_STATE_RULE: &Schema =
    &[one("phase", PHASE), one("min_level", Int), one("max_level", Int), many("stage", Text), many("not_stage", Text)];
static PARAM: &Schema = &[one("name", Text), one("share_mode", DIM_CHECK), one("lr_mult", Float), one("decay_mult", Float)];

/// `NetParameter`.
pub static NET: &Schema = &[
    one("name", Text),
    many("input", Text),
    many("input_shape", Message(BLOB_SHAPE)),
    many("input_dim", Int),
    one("force_backward", Bool),
    one("state", Message(NET_STATE)),
    one("debug_info", Bool),
    many("layer", Message(LAYER)),
    many("layers", Message(V1_LAYER)),
];

/// `SolverParameter`.
pub static SOLVER: &Schema = &[
    one("net", Text),
    one("net_param", Message(NET)),
    one("train_net", Text),
    many("test_net", Text),
    one("train_net_param", Message(NET)),
    many("test_net_param", Message(NET)),
    one("train_state", Message(NET_STATE)),
    many("test_state", Message(NET_STATE)),
    many("test_iter", Int),
    one("test_interval", Int),
    one("test_compute_loss", Bool),
    one("test_initialization", Bool),
    one("base_lr", Float),
    one("display", Int),
    one("average_loss", Int),
    one("max_iter", Int),
    one("iter_size", Int),
    one("lr_policy", Text),
    one("gamma", Float),
    one("power", Float),
    one("momentum", Float),
    one("weight_decay", Float),
    one("regularization_type", Text),
    one("stepsize", Int),
    many("stepvalue", Int),
    one("clip_gradients", Float),
    one("snapshot", Int),
    one("snapshot_prefix", Text),
    one("snapshot_diff", Bool),
    one("snapshot_format", Enum(&[("HDF5", 0), ("BINARYPROTO", 1)])),
    one("solver_mode", Enum(&[("CPU", 0), ("GPU", 1)])),
    one("device_id", Int),
    one("random_seed", Int),
    one("type", Text),
    one("delta", Float),
    one("momentum2", Float),
    one("rms_decay", Float),
    one("debug_info", Bool),
    one("snapshot_after_train", Bool),
    one("solver_type", Enum(&[("SGD", 0), ("NESTEROV", 1), ("ADAGRAD", 2), ("RMSPROP", 3), ("ADADELTA", 4), ("ADAM", 5)])),
    one("layer_wise_reduce", Bool),
    many("weights", Text),
];

static TRANSFORM: &Schema = &[
    one("scale", Float),
    one("mirror", Bool),
    one("crop_size", Natural),
    one("mean_file", Text),
    many("mean_value", Float),
    one("force_color", Bool),
    one("force_gray", Bool),
];
static LOSS: &Schema = &[
    one("ignore_label", Int),
    one("normalization", Enum(&[("FULL", 0), ("VALID", 1), ("BATCH_SIZE", 2), ("NONE", 3)])),
    one("normalize", Bool),
];
static ACCURACY: &Schema = &[one("top_k", Natural), one("axis", Int), one("ignore_label", Int)];
static ARGMAX: &Schema = &[one("out_max_val", Bool), one("top_k", Natural), one("axis", Int)];
static BATCH_NORM: &Schema = &[one("use_global_stats", Bool), one("moving_average_fraction", Float), one("eps", Float)];
static BIAS: &Schema = &[one("axis", Int), one("num_axes", Int), one("filler", Message(FILLER))];
static CLIP: &Schema = &[one("min", Float), one("max", Float)];
static CONCAT: &Schema = &[one("axis", Int), one("concat_dim", Natural)];
static CONTRASTIVE: &Schema = &[one("margin", Float), one("legacy_version", Bool)];
static CONVOLUTION: &Schema = &[
    one("num_output", Natural),
    one("bias_term", Bool),
    many("pad", Natural),
    many("kernel_size", Natural),
    many("stride", Natural),
    many("dilation", Natural),
    one("pad_h", Natural),
    one("pad_w", Natural),
    one("kernel_h", Natural),
    one("kernel_w", Natural),
    one("stride_h", Natural),
    one("stride_w", Natural),
    one("group", Natural),
    one("weight_filler", Message(FILLER)),
    one("bias_filler", Message(FILLER)),
    ENGINE,
    one("axis", Int),
    one("force_nd_im2col", Bool),
];
static CROP: &Schema = &[one("axis", Int), many("offset", Natural)];
static DATA: &Schema = &[
    one("source", Text),
    one("batch_size", Natural),
    one("rand_skip", Natural),
    one("backend", Enum(&[("LEVELDB", 0), ("LMDB", 1)])),
    one("scale", Float),
    one("mean_file", Text),
    one("crop_size", Natural),
    one("mirror", Bool),
    one("force_encoded_color", Bool),
    one("prefetch", Natural),
];
static DROPOUT: &Schema = &[one("dropout_ratio", Float)];
static DUMMY_DATA: &Schema = &[
    many("data_filler", Message(FILLER)),
    many("shape", Message(BLOB_SHAPE)),
    many("num", Natural),
    many("channels", Natural),
    many("height", Natural),
    many("width", Natural),
];
static ELTWISE: &Schema =
    &[one("operation", Enum(&[("PROD", 0), ("SUM", 1), ("MAX", 2)])), many("coeff", Float), one("stable_prod_grad", Bool)];
static ELU: &Schema = &[one("alpha", Float)];
static EMBED: &Schema = &[
    one("num_output", Natural),
    one("input_dim", Natural),
    one("bias_term", Bool),
    one("weight_filler", Message(FILLER)),
    one("bias_filler", Message(FILLER)),
];
static EXP: &Schema = &[one("base", Float), one("scale", Float), one("shift", Float)];
static FLATTEN: &Schema = &[one("axis", Int), one("end_axis", Int)];
static HDF5_DATA: &Schema = &[one("source", Text), one("batch_size", Natural), one("shuffle", Bool)];
static HDF5_OUTPUT: &Schema = &[one("file_name", Text)];
static HINGE: &Schema = &[one("norm", Enum(&[("L1", 1), ("L2", 2)]))];
static IMAGE_DATA: &Schema = &[
    one("source", Text),
    one("batch_size", Natural),
    one("rand_skip", Natural),
    one("shuffle", Bool),
    one("new_height", Natural),
    one("new_width", Natural),
    one("is_color", Bool),
    one("scale", Float),
    one("mean_file", Text),
    one("crop_size", Natural),
    one("mirror", Bool),
    one("root_folder", Text),
];
static INFOGAIN: &Schema = &[one("source", Text), one("axis", Int)];
static INNER_PRODUCT: &Schema = &[
    one("num_output", Natural),
    one("bias_term", Bool),
    one("weight_filler", Message(FILLER)),
    one("bias_filler", Message(FILLER)),
    one("axis", Int),
    one("transpose", Bool),
];
static INPUT: &Schema = &[many("shape", Message(BLOB_SHAPE))];
static LRN: &Schema = &[
    one("local_size", Natural),
    one("alpha", Float),
    one("beta", Float),
    one("norm_region", Enum(&[("ACROSS_CHANNELS", 0), ("WITHIN_CHANNEL", 1)])),
    one("k", Float),
    ENGINE,
];
static MEMORY_DATA: &Schema =
    &[one("batch_size", Natural), one("channels", Natural), one("height", Natural), one("width", Natural)];
static MVN: &Schema = &[one("normalize_variance", Bool), one("across_channels", Bool), one("eps", Float)];
static PARAMETER: &Schema = &[one("shape", Message(BLOB_SHAPE))];
static POOLING: &Schema = &[
    one("pool", POOL_METHOD),
    one("pad", Natural),
    one("pad_h", Natural),
    one("pad_w", Natural),
    one("kernel_size", Natural),
    one("kernel_h", Natural),
    one("kernel_w", Natural),
    one("stride", Natural),
    one("stride_h", Natural),
    one("stride_w", Natural),
    ENGINE,
    one("global_pooling", Bool),
    one("round_mode", Enum(&[("CEIL", 0), ("FLOOR", 1)])),
];
static POWER: &Schema = &[one("power", Float), one("scale", Float), one("shift", Float)];
static PRELU: &Schema = &[one("filler", Message(FILLER)), one("channel_shared", Bool)];
static PYTHON: &Schema = &[one("module", Text), one("layer", Text), one("param_str", Text), one("share_in_parallel", Bool)];
static RECURRENT: &Schema = &[
    one("num_output", Natural),
    one("weight_filler", Message(FILLER)),
    one("bias_filler", Message(FILLER)),
    one("debug_info", Bool),
    one("expose_hidden", Bool),
];
static REDUCTION: &Schema =
    &[one("operation", Enum(&[("SUM", 1), ("ASUM", 2), ("SUMSQ", 3), ("MEAN", 4)])), one("axis", Int), one("coeff", Float)];
static RELU: &Schema = &[one("negative_slope", Float), ENGINE];
static RESHAPE: &Schema = &[one("shape", Message(BLOB_SHAPE)), one("axis", Int), one("num_axes", Int)];
static SCALE: &Schema = &[
    one("axis", Int),
    one("num_axes", Int),
    one("filler", Message(FILLER)),
    one("bias_term", Bool),
    one("bias_filler", Message(FILLER)),
];
static SIGMOID: &Schema = &[ENGINE];
static SLICE: &Schema = &[one("axis", Int), many("slice_point", Natural), one("slice_dim", Natural)];
static SOFTMAX: &Schema = &[ENGINE, one("axis", Int)];
static SPP: &Schema = &[one("pyramid_height", Natural), one("pool", POOL_METHOD), ENGINE];
static SWISH: &Schema = &[one("beta", Float)];
static TANH: &Schema = &[ENGINE];
static THRESHOLD: &Schema = &[one("threshold", Float)];
static TILE: &Schema = &[one("axis", Int), one("tiles", Int)];
static WINDOW_DATA: &Schema = &[
    one("source", Text),
    one("scale", Float),
    one("mean_file", Text),
    one("batch_size", Natural),
    one("crop_size", Natural),
    one("mirror", Bool),
    one("fg_threshold", Float),
    one("bg_threshold", Float),
    one("fg_fraction", Float),
    one("context_pad", Natural),
    one("crop_mode", Text),
    one("cache_images", Bool),
    one("root_folder", Text),
];

/// `LayerParameter`.
pub static LAYER: &Schema = &[
    one("name", Text),
    one("type", Text),
    many("bottom", Text),
    many("top", Text),
    one("phase", PHASE),
    many("loss_weight", Float),
    many("param", Message(PARAM)),
    many("blobs", Message(BLOB)),
    many("propagate_down", Bool),
    many("include", Message(NET_STATE_RULE)),
    many("exclude", Message(NET_STATE_RULE)),
    one("transform_param", Message(TRANSFORM)),
    one("loss_param", Message(LOSS)),
    one("accuracy_param", Message(ACCURACY)),
    one("argmax_param", Message(ARGMAX)),
    one("batch_norm_param", Message(BATCH_NORM)),
    one("bias_param", Message(BIAS)),
    one("clip_param", Message(CLIP)),
    one("concat_param", Message(CONCAT)),
    one("contrastive_loss_param", Message(CONTRASTIVE)),
    one("convolution_param", Message(CONVOLUTION)),
    one("crop_param", Message(CROP)),
    one("data_param", Message(DATA)),
    one("dropout_param", Message(DROPOUT)),
    one("dummy_data_param", Message(DUMMY_DATA)),
    one("eltwise_param", Message(ELTWISE)),
    one("elu_param", Message(ELU)),
    one("embed_param", Message(EMBED)),
    one("exp_param", Message(EXP)),
    one("flatten_param", Message(FLATTEN)),
    one("hdf5_data_param", Message(HDF5_DATA)),
    one("hdf5_output_param", Message(HDF5_OUTPUT)),
    one("hinge_loss_param", Message(HINGE)),
    one("image_data_param", Message(IMAGE_DATA)),
    one("infogain_loss_param", Message(INFOGAIN)),
    one("inner_product_param", Message(INNER_PRODUCT)),
    one("input_param", Message(INPUT)),
    one("log_param", Message(EXP)),
    one("lrn_param", Message(LRN)),
    one("memory_data_param", Message(MEMORY_DATA)),
    one("mvn_param", Message(MVN)),
    one("parameter_param", Message(PARAMETER)),
    one("pooling_param", Message(POOLING)),
    one("power_param", Message(POWER)),
    one("prelu_param", Message(PRELU)),
    one("python_param", Message(PYTHON)),
    one("recurrent_param", Message(RECURRENT)),
    one("reduction_param", Message(REDUCTION)),
    one("relu_param", Message(RELU)),
    one("reshape_param", Message(RESHAPE)),
    one("scale_param", Message(SCALE)),
    one("sigmoid_param", Message(SIGMOID)),
    one("softmax_param", Message(SOFTMAX)),
    one("spp_param", Message(SPP)),
    one("slice_param", Message(SLICE)),
    one("swish_param", Message(SWISH)),
    one("tanh_param", Message(TANH)),
    one("threshold_param", Message(THRESHOLD)),
    one("tile_param", Message(TILE)),
    one("window_data_param", Message(WINDOW_DATA)),
];

/// `V1LayerParameter`: types are an enum, and a layer's blobs have lists of multipliers and names.
static V1_LAYER: &Schema = &[
    one("name", Text),
    one("type", Enum(V1_TYPES)),
    many("bottom", Text),
    many("top", Text),
    many("include", Message(NET_STATE_RULE)),
    many("exclude", Message(NET_STATE_RULE)),
    many("blobs", Message(BLOB)),
    many("param", Text),
    many("blob_share_mode", DIM_CHECK),
    many("blobs_lr", Float),
    many("weight_decay", Float),
    many("loss_weight", Float),
    one("transform_param", Message(TRANSFORM)),
    one("loss_param", Message(LOSS)),
    one("accuracy_param", Message(ACCURACY)),
    one("argmax_param", Message(ARGMAX)),
    one("concat_param", Message(CONCAT)),
    one("contrastive_loss_param", Message(CONTRASTIVE)),
    one("convolution_param", Message(CONVOLUTION)),
    one("data_param", Message(DATA)),
    one("dropout_param", Message(DROPOUT)),
    one("dummy_data_param", Message(DUMMY_DATA)),
    one("eltwise_param", Message(ELTWISE)),
    one("exp_param", Message(EXP)),
    one("hdf5_data_param", Message(HDF5_DATA)),
    one("hdf5_output_param", Message(HDF5_OUTPUT)),
    one("hinge_loss_param", Message(HINGE)),
    one("image_data_param", Message(IMAGE_DATA)),
    one("infogain_loss_param", Message(INFOGAIN)),
    one("inner_product_param", Message(INNER_PRODUCT)),
    one("lrn_param", Message(LRN)),
    one("memory_data_param", Message(MEMORY_DATA)),
    one("mvn_param", Message(MVN)),
    one("pooling_param", Message(POOLING)),
    one("power_param", Message(POWER)),
    one("relu_param", Message(RELU)),
    one("sigmoid_param", Message(SIGMOID)),
    one("softmax_param", Message(SOFTMAX)),
    one("slice_param", Message(SLICE)),
    one("tanh_param", Message(TANH)),
    one("threshold_param", Message(THRESHOLD)),
    one("window_data_param", Message(WINDOW_DATA)),
    one("layer", Message(V0_LAYER)),
];

const V1_TYPES: &[(&str, i64)] = &[
    ("NONE", 0),
    ("ACCURACY", 1),
    ("BNLL", 2),
    ("CONCAT", 3),
    ("CONVOLUTION", 4),
    ("DATA", 5),
    ("DROPOUT", 6),
    ("EUCLIDEAN_LOSS", 7),
    ("FLATTEN", 8),
    ("HDF5_DATA", 9),
    ("HDF5_OUTPUT", 10),
    ("IM2COL", 11),
    ("IMAGE_DATA", 12),
    ("INFOGAIN_LOSS", 13),
    ("INNER_PRODUCT", 14),
    ("LRN", 15),
    ("MULTINOMIAL_LOGISTIC_LOSS", 16),
    ("POOLING", 17),
    ("RELU", 18),
    ("SIGMOID", 19),
    ("SOFTMAX", 20),
    ("SOFTMAX_LOSS", 21),
    ("SPLIT", 22),
    ("TANH", 23),
    ("WINDOW_DATA", 24),
    ("ELTWISE", 25),
    ("POWER", 26),
    ("SIGMOID_CROSS_ENTROPY_LOSS", 27),
    ("HINGE_LOSS", 28),
    ("MEMORY_DATA", 29),
    ("ARGMAX", 30),
    ("THRESHOLD", 31),
    ("DUMMY_DATA", 32),
    ("SLICE", 33),
    ("MVN", 34),
    ("ABSVAL", 35),
    ("SILENCE", 36),
    ("CONTRASTIVE_LOSS", 37),
    ("EXP", 38),
    ("DECONVOLUTION", 39),
];

/// `V0LayerParameter`: the keys of all types side by side.
static V0_LAYER: &Schema = &[
    one("name", Text),
    one("type", Text),
    one("num_output", Natural),
    one("biasterm", Bool),
    one("weight_filler", Message(FILLER)),
    one("bias_filler", Message(FILLER)),
    one("pad", Natural),
    one("kernelsize", Natural),
    one("group", Natural),
    one("stride", Natural),
    one("pool", POOL_METHOD),
    one("dropout_ratio", Float),
    one("local_size", Natural),
    one("alpha", Float),
    one("beta", Float),
    one("k", Float),
    one("source", Text),
    one("scale", Float),
    one("meanfile", Text),
    one("batchsize", Natural),
    one("cropsize", Natural),
    one("mirror", Bool),
    many("blobs", Message(BLOB)),
    many("blobs_lr", Float),
    many("weight_decay", Float),
    one("rand_skip", Natural),
    one("new_num", Int),
    one("new_channels", Int),
    one("new_height", Int),
    one("new_width", Int),
    one("shuffle_images", Bool),
    one("concat_dim", Natural),
];
