"""Makes port/: a small net in the formats that `convnet import` reads, and the logits that PyTorch computes for an image of
bytes. Caffe's messages are written by Google's protobuf library, with the numbers of Caffe's caffe.proto.

    python tests/golden/make_port.py    # needs torch, safetensors, onnx and protobuf
"""

import json
import pathlib
import struct

import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from safetensors.torch import save_file
from torch import nn

HERE = pathlib.Path(__file__).parent / "port"
HERE.mkdir(exist_ok=True)
HEIGHT, WIDTH = 12, 10
MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 70.0]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1, groups=2), nn.ReLU(),
        )
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(240, 8), nn.ReLU(), nn.Linear(8, 5))

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


class OnPixels(nn.Module):
    """The net behind what is done to the pixels, and with probabilities."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.mean, self.std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))

    def forward(self, x):
        return torch.softmax(self.net((x - self.mean) / self.std), 1)


torch.manual_seed(7)
net = Net().eval()
bn = net.features[1]
with torch.no_grad():
    bn.weight.uniform_(0.5, 1.5), bn.bias.uniform_(-0.5, 0.5)
    bn.running_mean.uniform_(-0.5, 0.5), bn.running_var.uniform_(0.5, 1.5)
pixels = torch.randint(0, 256, (HEIGHT, WIDTH, 3))
x = pixels.permute(2, 0, 1)[None].float()
channels = lambda v: torch.tensor(v).view(1, 3, 1, 1)
mean_image = torch.randint(90, 150, (1, 3, HEIGHT + 3, WIDTH + 2)).float()  # red, green, blue
middle = mean_image[:, :, 1 : 1 + HEIGHT, 1 : 1 + WIDTH]
with torch.no_grad():
    logits = {
        "pytorch": net((x - channels(MEAN)) / channels(STD)),
        "caffe": net((x - middle) / 64),
        "darknet": net(x / 255),
    }
golden = {"torch": torch.__version__, "pixels": pixels.flatten().tolist()}
golden |= {k: [float(f"{v:.8g}") for v in y[0].tolist()] for k, y in logits.items()}
(HERE / "tiny.json").write_text(json.dumps(golden) + "\n")

save_file(net.state_dict(), HERE / "tiny.safetensors")

with torch.no_grad():
    for name, module in (("tiny", net), ("pixels", OnPixels(net))):
        torch.onnx.export(module, (x,), str(HERE / f"{name}.onnx"), dynamo=False, input_names=["x"], opset_version=13,
                          dynamic_axes={"x": {0: "n"}})

# Darknet: version 0.2.0 and the images seen; biases, scales, means, variances and filters of each layer.
conv1, conv2, fc1, fc2 = net.features[0], net.features[4], net.classifier[1], net.classifier[3]
tensors = [bn.bias, bn.weight, bn.running_mean, bn.running_var, conv1.weight, conv2.bias, conv2.weight]
tensors += [fc1.bias, fc1.weight, fc2.bias, fc2.weight]
body = b"".join(struct.pack(f"<{t.numel()}f", *t.flatten().tolist()) for t in tensors)
(HERE / "tiny.weights").write_bytes(struct.pack("<iiiQ", 0, 2, 0, 1234) + body)

# Caffe.
TYPES = {"int32": 5, "int64": 3, "float": 2, "string": 9, "message": 11, "enum": 5}
MESSAGES = {
    "BlobShape": [("dim", 1, "int64", True, None)],
    "BlobProto": [("num", 1, "int32", False, None), ("channels", 2, "int32", False, None), ("height", 3, "int32", False, None),
                  ("width", 4, "int32", False, None), ("data", 5, "float", True, None), ("shape", 7, "message", False, "BlobShape")],
    "LayerParameter": [("name", 1, "string", False, None), ("type", 2, "string", False, None), ("bottom", 3, "string", True, None),
                       ("top", 4, "string", True, None), ("blobs", 7, "message", True, "BlobProto")],
    "V1LayerParameter": [("bottom", 2, "string", True, None), ("top", 3, "string", True, None), ("name", 4, "string", False, None),
                         ("type", 5, "int32", False, None), ("blobs", 6, "message", True, "BlobProto")],
    "NetParameter": [("name", 1, "string", False, None), ("layers", 2, "message", True, "V1LayerParameter"),
                     ("layer", 100, "message", True, "LayerParameter")],
}
file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
for message, fields in MESSAGES.items():
    m = file.message_type.add(name=message)
    for name, number, kind, repeated, of in fields:
        f = m.field.add(name=name, number=number, type=TYPES[kind], label=3 if repeated else 1)
        if of:
            f.type_name = f".caffe.{of}"
        elif repeated and kind != "string":
            f.options.packed = True
pool = descriptor_pool.DescriptorPool()
pool.Add(file)
message = lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))


def blob(t):
    b = message("BlobProto")(data=t.flatten().tolist())
    b.shape.dim.extend(t.shape)
    return b


param = message("NetParameter")(name="tiny")
layer = lambda name, kind, bottom, top, *blobs: param.layer.add(name=name, type=kind, bottom=[bottom], top=[top], blobs=[blob(b) for b in blobs])
param.layer.add(name="data", type="Input", top=["data"])
layer("conv1", "Convolution", "data", "conv1", conv1.weight.flip(1))  # blue, green, red
layer("bn1", "BatchNorm", "conv1", "conv1", bn.running_mean * 3, bn.running_var * 3, torch.tensor([3.0]))
layer("scale1", "Scale", "conv1", "conv1", bn.weight, bn.bias)
layer("fc3", "InnerProduct", "conv2", "fc3", fc1.weight, fc1.bias)
layer("fc4", "InnerProduct", "fc3", "fc4", fc2.weight, fc2.bias)
# A layer of the message before 2014, with the extents of that time.
old = param.layers.add(name="conv2", type=4, bottom=["pool1"], top=["conv2"])
k, c, r, s = conv2.weight.shape
old.blobs.add(num=k, channels=c, height=r, width=s, data=conv2.weight.flatten().tolist())
old.blobs.add(num=1, channels=1, height=1, width=k, data=conv2.bias.tolist())
(HERE / "tiny.caffemodel").write_bytes(param.SerializeToString())
image = message("BlobProto")(num=1, channels=3, height=HEIGHT + 3, width=WIDTH + 2, data=mean_image.flip(1).flatten().tolist())
(HERE / "mean.binaryproto").write_bytes(image.SerializeToString())
