BEGIN TRANSACTION;
CREATE TABLE checkpoint (digest TEXT PRIMARY KEY, message TEXT NOT NULL) STRICT;
INSERT INTO "checkpoint" VALUES('b06ad18cc5516717617b28eb3b3c95917ddbbd238947a62ca574256f98ecec6f','{
  "digest": "b06ad18cc5516717617b28eb3b3c95917ddbbd238947a62ca574256f98ecec6f",
  "runId": "f3d5673228f0",
  "backbone": "test_resnet",
  "dataset": "shapes",
  "datasetDigest": "9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40",
  "nFeatures": 96,
  "nClasses": 2,
  "created": "2026-11-30T10:16:19.763854080Z",
  "classes": [
    "bright",
    "dark"
  ],
  "model": "8ebc50852647ce5eabaafa9b9b21344bf7752cc6329908f1c384e0e6100465ec"
}');
INSERT INTO "checkpoint" VALUES('62637b06aed903d0914d1cdd1b9846b3bfb6e5bbd81bb0902a298d42ecb4f3a6','{
  "digest": "62637b06aed903d0914d1cdd1b9846b3bfb6e5bbd81bb0902a298d42ecb4f3a6",
  "runId": "f3d5673228f0",
  "backbone": "test_resnet",
  "dataset": "shapes",
  "datasetDigest": "9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40",
  "nFeatures": 96,
  "nClasses": 2,
  "created": "2026-11-30T10:16:23.925012224Z",
  "epoch": 1.0,
  "step": "9",
  "classes": [
    "bright",
    "dark"
  ],
  "model": "b9364739227fbec46d0a1b57d4a45da27afb6db7b338fb9de09e83cc7471dfa5"
}');
CREATE TABLE dataset (name TEXT PRIMARY KEY, digest TEXT NOT NULL, message TEXT NOT NULL) STRICT;
INSERT INTO "dataset" VALUES('shapes','9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40','{
  "name": "shapes",
  "digest": "9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40",
  "modality": "MODALITY_IMAGE",
  "classes": [
    "bright",
    "dark"
  ],
  "attributes": [
    {
      "name": "ground",
      "values": [
        "green",
        "red"
      ]
    }
  ],
  "splits": [
    {
      "name": "train",
      "nExamples": "72",
      "groups": [
        {
          "name": "bright, green",
          "className": "bright",
          "attributeValue": "green",
          "count": "30"
        },
        {
          "index": 1,
          "name": "bright, red",
          "a": 1,
          "className": "bright",
          "attributeValue": "red",
          "count": "6"
        },
        {
          "index": 2,
          "name": "dark, green",
          "y": 1,
          "className": "dark",
          "attributeValue": "green",
          "count": "6"
        },
        {
          "index": 3,
          "name": "dark, red",
          "y": 1,
          "a": 1,
          "className": "dark",
          "attributeValue": "red",
          "count": "30"
        }
      ]
    },
    {
      "name": "val",
      "nExamples": "32",
      "groups": [
        {
          "name": "bright, green",
          "className": "bright",
          "attributeValue": "green",
          "count": "8"
        },
        {
          "index": 1,
          "name": "bright, red",
          "a": 1,
          "className": "bright",
          "attributeValue": "red",
          "count": "8"
        },
        {
          "index": 2,
          "name": "dark, green",
          "y": 1,
          "className": "dark",
          "attributeValue": "green",
          "count": "8"
        },
        {
          "index": 3,
          "name": "dark, red",
          "y": 1,
          "a": 1,
          "className": "dark",
          "attributeValue": "red",
          "count": "8"
        }
      ]
    },
    {
      "name": "test",
      "nExamples": "40",
      "groups": [
        {
          "name": "bright, green",
          "className": "bright",
          "attributeValue": "green",
          "count": "10"
        },
        {
          "index": 1,
          "name": "bright, red",
          "a": 1,
          "className": "bright",
          "attributeValue": "red",
          "count": "10"
        },
        {
          "index": 2,
          "name": "dark, green",
          "y": 1,
          "className": "dark",
          "attributeValue": "green",
          "count": "10"
        },
        {
          "index": 3,
          "name": "dark, red",
          "y": 1,
          "a": 1,
          "className": "dark",
          "attributeValue": "red",
          "count": "10"
        }
      ]
    }
  ]
}');
CREATE TABLE feature_name (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL REFERENCES feature_set (digest) ON DELETE CASCADE
) STRICT;
INSERT INTO "feature_name" VALUES('mine','cc7db8e868a2d25fe3ff8fc34608d5496d1666e216eddc0907e31ed7a0329ce5');
INSERT INTO "feature_name" VALUES('also-mine','cc7db8e868a2d25fe3ff8fc34608d5496d1666e216eddc0907e31ed7a0329ce5');
INSERT INTO "feature_name" VALUES('other','87f191d0870bec48ddf180e990e7f2300d35f5a597e5295395960153dda08b75');
CREATE TABLE feature_set (digest TEXT PRIMARY KEY, created REAL NOT NULL, message TEXT NOT NULL) STRICT;
INSERT INTO "feature_set" VALUES('c146b4ed9a3a7a397edeb6d50b085f98b3e8ddd30b5d401af4dcf56736bc24a4',1.79603378756134557728e+09,'{
  "digest": "c146b4ed9a3a7a397edeb6d50b085f98b3e8ddd30b5d401af4dcf56736bc24a4",
  "nExamples": "72",
  "nFeatures": "96",
  "dtype": "DTYPE_FLOAT32",
  "labels": {
    "classes": [
      "bright",
      "dark"
    ],
    "attribute": "ground",
    "attributeValues": [
      "green",
      "red"
    ]
  },
  "groups": [
    {
      "name": "bright, green",
      "className": "bright",
      "attributeValue": "green",
      "count": "30"
    },
    {
      "index": 1,
      "name": "bright, red",
      "a": 1,
      "className": "bright",
      "attributeValue": "red",
      "count": "6"
    },
    {
      "index": 2,
      "name": "dark, green",
      "y": 1,
      "className": "dark",
      "attributeValue": "green",
      "count": "6"
    },
    {
      "index": 3,
      "name": "dark, red",
      "y": 1,
      "a": 1,
      "className": "dark",
      "attributeValue": "red",
      "count": "30"
    }
  ],
  "hasLogits": true,
  "hasHead": true,
  "featureKind": "pooled",
  "checkpoint": "62637b06aed903d0914d1cdd1b9846b3bfb6e5bbd81bb0902a298d42ecb4f3a6",
  "dataset": "shapes",
  "datasetDigest": "9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40",
  "split": "train",
  "created": "2026-11-30T10:16:26.187437312Z",
  "storedBytes": "36243",
  "trainShares": [
    0.4166666666666667,
    0.08333333333333333,
    0.08333333333333333,
    0.4166666666666667
  ],
  "extractRate": 142.01372419446642,
  "attributes": [
    {
      "name": "ground",
      "values": [
        "green",
        "red"
      ]
    }
  ]
}');
INSERT INTO "feature_set" VALUES('d4ee8d2ccb24c1f5b80ba150ced076e72a640cd6b254238a107173df45e2ef8a',1.79603378757314729695e+09,'{
  "digest": "d4ee8d2ccb24c1f5b80ba150ced076e72a640cd6b254238a107173df45e2ef8a",
  "nExamples": "32",
  "nFeatures": "96",
  "dtype": "DTYPE_FLOAT32",
  "labels": {
    "classes": [
      "bright",
      "dark"
    ],
    "attribute": "ground",
    "attributeValues": [
      "green",
      "red"
    ]
  },
  "groups": [
    {
      "name": "bright, green",
      "className": "bright",
      "attributeValue": "green",
      "count": "8"
    },
    {
      "index": 1,
      "name": "bright, red",
      "a": 1,
      "className": "bright",
      "attributeValue": "red",
      "count": "8"
    },
    {
      "index": 2,
      "name": "dark, green",
      "y": 1,
      "className": "dark",
      "attributeValue": "green",
      "count": "8"
    },
    {
      "index": 3,
      "name": "dark, red",
      "y": 1,
      "a": 1,
      "className": "dark",
      "attributeValue": "red",
      "count": "8"
    }
  ],
  "hasLogits": true,
  "hasHead": true,
  "featureKind": "pooled",
  "checkpoint": "62637b06aed903d0914d1cdd1b9846b3bfb6e5bbd81bb0902a298d42ecb4f3a6",
  "dataset": "shapes",
  "datasetDigest": "9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40",
  "split": "val",
  "created": "2026-11-30T10:16:26.665733632Z",
  "storedBytes": "19283",
  "trainShares": [
    0.4166666666666667,
    0.08333333333333333,
    0.08333333333333333,
    0.4166666666666667
  ],
  "extractRate": 294.2210165285402,
  "attributes": [
    {
      "name": "ground",
      "values": [
        "green",
        "red"
      ]
    }
  ]
}');
INSERT INTO "feature_set" VALUES('b73fa1d63aeef7191273526e87916dadc63e177ed64684b25ae4ba51ad4d8947',1796033787.5936,'{
  "digest": "b73fa1d63aeef7191273526e87916dadc63e177ed64684b25ae4ba51ad4d8947",
  "nExamples": "40",
  "nFeatures": "96",
  "dtype": "DTYPE_FLOAT32",
  "labels": {
    "classes": [
      "bright",
      "dark"
    ],
    "attribute": "ground",
    "attributeValues": [
      "green",
      "red"
    ]
  },
  "groups": [
    {
      "name": "bright, green",
      "className": "bright",
      "attributeValue": "green",
      "count": "10"
    },
    {
      "index": 1,
      "name": "bright, red",
      "a": 1,
      "className": "bright",
      "attributeValue": "red",
      "count": "10"
    },
    {
      "index": 2,
      "name": "dark, green",
      "y": 1,
      "className": "dark",
      "attributeValue": "green",
      "count": "10"
    },
    {
      "index": 3,
      "name": "dark, red",
      "y": 1,
      "a": 1,
      "className": "dark",
      "attributeValue": "red",
      "count": "10"
    }
  ],
  "hasLogits": true,
  "hasHead": true,
  "featureKind": "pooled",
  "checkpoint": "62637b06aed903d0914d1cdd1b9846b3bfb6e5bbd81bb0902a298d42ecb4f3a6",
  "dataset": "shapes",
  "datasetDigest": "9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40",
  "split": "test",
  "created": "2026-11-30T10:16:27.322308096Z",
  "storedBytes": "22675",
  "trainShares": [
    0.4166666666666667,
    0.08333333333333333,
    0.08333333333333333,
    0.4166666666666667
  ],
  "extractRate": 177.47858359264538,
  "attributes": [
    {
      "name": "ground",
      "values": [
        "green",
        "red"
      ]
    }
  ]
}');
INSERT INTO "feature_set" VALUES('cc7db8e868a2d25fe3ff8fc34608d5496d1666e216eddc0907e31ed7a0329ce5',1.79603378922888612745e+09,'{
  "digest": "cc7db8e868a2d25fe3ff8fc34608d5496d1666e216eddc0907e31ed7a0329ce5",
  "nExamples": "40",
  "nFeatures": "4",
  "dtype": "DTYPE_FLOAT32",
  "labels": {
    "classes": [
      "0",
      "1"
    ],
    "attribute": "a",
    "attributeValues": [
      "0",
      "1"
    ],
    "classesByIndex": true
  },
  "groups": [
    {
      "name": "0, 0",
      "className": "0",
      "attributeValue": "0",
      "count": "10"
    },
    {
      "index": 1,
      "name": "0, 1",
      "a": 1,
      "className": "0",
      "attributeValue": "1",
      "count": "10"
    },
    {
      "index": 2,
      "name": "1, 0",
      "y": 1,
      "className": "1",
      "attributeValue": "0",
      "count": "10"
    },
    {
      "index": 3,
      "name": "1, 1",
      "y": 1,
      "a": 1,
      "className": "1",
      "attributeValue": "1",
      "count": "10"
    }
  ],
  "featureKind": "uploaded",
  "created": "2026-11-30T10:16:28.886464512Z",
  "storedBytes": "5992"
}');
INSERT INTO "feature_set" VALUES('87f191d0870bec48ddf180e990e7f2300d35f5a597e5295395960153dda08b75',1.79603379093616557114e+09,'{
  "digest": "87f191d0870bec48ddf180e990e7f2300d35f5a597e5295395960153dda08b75",
  "nExamples": "40",
  "nFeatures": "4",
  "dtype": "DTYPE_FLOAT32",
  "labels": {
    "classes": [
      "0",
      "1"
    ],
    "attribute": "a",
    "attributeValues": [
      "0",
      "1"
    ],
    "classesByIndex": true
  },
  "groups": [
    {
      "name": "0, 0",
      "className": "0",
      "attributeValue": "0",
      "count": "10"
    },
    {
      "index": 1,
      "name": "0, 1",
      "a": 1,
      "className": "0",
      "attributeValue": "1",
      "count": "10"
    },
    {
      "index": 2,
      "name": "1, 0",
      "y": 1,
      "className": "1",
      "attributeValue": "0",
      "count": "10"
    },
    {
      "index": 3,
      "name": "1, 1",
      "y": 1,
      "a": 1,
      "className": "1",
      "attributeValue": "1",
      "count": "10"
    }
  ],
  "featureKind": "uploaded",
  "created": "2026-11-30T10:16:30.582091008Z",
  "storedBytes": "5992"
}');
CREATE TABLE job (
    id TEXT PRIMARY KEY,
    spec_digest TEXT NOT NULL,
    request_id TEXT UNIQUE,
    state TEXT NOT NULL,
    created REAL NOT NULL,
    deaths INTEGER NOT NULL DEFAULT 0,
    message TEXT NOT NULL
) STRICT;
INSERT INTO "job" VALUES('46699b46ec81','e09db006f6f4ae2f75c5e1681c4def9bbcb444dde38822861d788a7b4f8ba32b',NULL,'JOB_STATE_SUCCEEDED',1.79603373782401537894e+09,0,'{
  "id": "46699b46ec81",
  "spec": {
    "registerDataset": {
      "name": "shapes",
      "table": "/data/shapes/table.csv",
      "layout": "DATASET_LAYOUT_TABLE",
      "columns": {}
    }
  },
  "state": "JOB_STATE_SUCCEEDED",
  "attempt": 1,
  "progress": {
    "stage": "reading",
    "done": 144.0,
    "total": 144.0,
    "unit": "files"
  },
  "result": {
    "dataset": {
      "name": "shapes",
      "digest": "9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40",
      "modality": "MODALITY_IMAGE",
      "classes": [
        "bright",
        "dark"
      ],
      "attributes": [
        {
          "name": "ground",
          "values": [
            "green",
            "red"
          ]
        }
      ],
      "splits": [
        {
          "name": "train",
          "nExamples": "72",
          "groups": [
            {
              "name": "bright, green",
              "className": "bright",
              "attributeValue": "green",
              "count": "30"
            },
            {
              "index": 1,
              "name": "bright, red",
              "a": 1,
              "className": "bright",
              "attributeValue": "red",
              "count": "6"
            },
            {
              "index": 2,
              "name": "dark, green",
              "y": 1,
              "className": "dark",
              "attributeValue": "green",
              "count": "6"
            },
            {
              "index": 3,
              "name": "dark, red",
              "y": 1,
              "a": 1,
              "className": "dark",
              "attributeValue": "red",
              "count": "30"
            }
          ]
        },
        {
          "name": "val",
          "nExamples": "32",
          "groups": [
            {
              "name": "bright, green",
              "className": "bright",
              "attributeValue": "green",
              "count": "8"
            },
            {
              "index": 1,
              "name": "bright, red",
              "a": 1,
              "className": "bright",
              "attributeValue": "red",
              "count": "8"
            },
            {
              "index": 2,
              "name": "dark, green",
              "y": 1,
              "className": "dark",
              "attributeValue": "green",
              "count": "8"
            },
            {
              "index": 3,
              "name": "dark, red",
              "y": 1,
              "a": 1,
              "className": "dark",
              "attributeValue": "red",
              "count": "8"
            }
          ]
        },
        {
          "name": "test",
          "nExamples": "40",
          "groups": [
            {
              "name": "bright, green",
              "className": "bright",
              "attributeValue": "green",
              "count": "10"
            },
            {
              "index": 1,
              "name": "bright, red",
              "a": 1,
              "className": "bright",
              "attributeValue": "red",
              "count": "10"
            },
            {
              "index": 2,
              "name": "dark, green",
              "y": 1,
              "className": "dark",
              "attributeValue": "green",
              "count": "10"
            },
            {
              "index": 3,
              "name": "dark, red",
              "y": 1,
              "a": 1,
              "className": "dark",
              "attributeValue": "red",
              "count": "10"
            }
          ]
        }
      ]
    }
  },
  "created": "2026-11-30T10:15:37.823990272Z",
  "started": "2026-11-30T10:15:37.850923264Z",
  "finished": "2026-11-30T10:15:43.052954624Z",
  "lastSeq": "5"
}');
INSERT INTO "job" VALUES('f3d5673228f0','11f04c289f6850c60a26836b1f1696349900cae15b9f665d921188bf380a0b55',NULL,'JOB_STATE_SUCCEEDED',1.79603374306704807283e+09,0,'{
  "id": "f3d5673228f0",
  "spec": {
    "finetune": {
      "dataset": "shapes",
      "attribute": "ground",
      "backbone": "test_resnet",
      "pretrained": false,
      "balance": {
        "method": "BALANCE_METHOD_NONE"
      },
      "epochs": 1,
      "seed": "0",
      "optimizer": "OPTIMIZER_NAME_ADAMW",
      "learningRate": 0.003,
      "weightDecay": 0.01,
      "schedule": "SCHEDULE_NAME_COSINE",
      "warmup": 0.1,
      "batchSize": 8,
      "flip": true,
      "imageSize": 0,
      "evaluateEvery": 1.0,
      "checkpointEvery": 1.0,
      "saveEvery": "0",
      "objective": {
        "loss": "LOSS_NAME_MEAN",
        "labelSmoothing": 0.0,
        "mixup": 0.0,
        "sam": 0.0
      },
      "decayAll": false,
      "scheduleByEpoch": false,
      "clipNorm": 0.0,
      "precision": "PRECISION_AUTO",
      "compile": false,
      "accumulate": 1,
      "cropScale": 0.0,
      "processes": 1,
      "imageResize": 0
    }
  },
  "state": "JOB_STATE_SUCCEEDED",
  "attempt": 1,
  "progress": {
    "stage": "epoch 1 of 1: test",
    "done": 9.0,
    "total": 9.0,
    "unit": "steps"
  },
  "result": {
    "run": {
      "id": "f3d5673228f0",
      "spec": {
        "dataset": "shapes",
        "attribute": "ground",
        "backbone": "test_resnet",
        "pretrained": false,
        "balance": {
          "method": "BALANCE_METHOD_NONE"
        },
        "epochs": 1,
        "seed": "0",
        "optimizer": "OPTIMIZER_NAME_ADAMW",
        "learningRate": 0.003,
        "weightDecay": 0.01,
        "schedule": "SCHEDULE_NAME_COSINE",
        "warmup": 0.1,
        "batchSize": 8,
        "flip": true,
        "imageSize": 0,
        "evaluateEvery": 1.0,
        "checkpointEvery": 1.0,
        "saveEvery": "0",
        "objective": {
          "loss": "LOSS_NAME_MEAN",
          "labelSmoothing": 0.0,
          "mixup": 0.0,
          "sam": 0.0
        },
        "decayAll": false,
        "scheduleByEpoch": false,
        "clipNorm": 0.0,
        "precision": "PRECISION_AUTO",
        "compile": false,
        "accumulate": 1,
        "cropScale": 0.0,
        "processes": 1,
        "imageResize": 0
      },
      "datasetDigest": "9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40",
      "nTrainExamples": "72",
      "checkpoints": [
        {
          "digest": "b06ad18cc5516717617b28eb3b3c95917ddbbd238947a62ca574256f98ecec6f",
          "runId": "f3d5673228f0",
          "backbone": "test_resnet",
          "dataset": "shapes",
          "datasetDigest": "9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40",
          "nFeatures": 96,
          "nClasses": 2,
          "created": "2026-11-30T10:16:19.763854080Z",
          "classes": [
            "bright",
            "dark"
          ],
          "model": "8ebc50852647ce5eabaafa9b9b21344bf7752cc6329908f1c384e0e6100465ec"
        },
        {
          "digest": "62637b06aed903d0914d1cdd1b9846b3bfb6e5bbd81bb0902a298d42ecb4f3a6",
          "runId": "f3d5673228f0",
          "backbone": "test_resnet",
          "dataset": "shapes",
          "datasetDigest": "9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40",
          "nFeatures": 96,
          "nClasses": 2,
          "created": "2026-11-30T10:16:23.925012224Z",
          "epoch": 1.0,
          "step": "9",
          "classes": [
            "bright",
            "dark"
          ],
          "model": "b9364739227fbec46d0a1b57d4a45da27afb6db7b338fb9de09e83cc7471dfa5"
        }
      ],
      "history": [
        {
          "split": "train",
          "metrics": {
            "groups": [
              {
                "name": "bright, green",
                "className": "bright",
                "attributeValue": "green",
                "count": "30"
              },
              {
                "index": 1,
                "name": "bright, red",
                "a": 1,
                "className": "bright",
                "attributeValue": "red",
                "count": "6"
              },
              {
                "index": 2,
                "name": "dark, green",
                "y": 1,
                "className": "dark",
                "attributeValue": "green",
                "count": "6"
              },
              {
                "index": 3,
                "name": "dark, red",
                "y": 1,
                "a": 1,
                "className": "dark",
                "attributeValue": "red",
                "count": "30"
              }
            ],
            "correct": [
              "0",
              "0",
              "6",
              "30"
            ],
            "groupAccuracy": [
              0.0,
              0.0,
              1.0,
              1.0
            ],
            "averageAccuracy": 0.5,
            "weightedAverageAccuracy": 0.5,
            "loss": 0.7805539166846253,
            "averageWeights": [
              0.4166666666666667,
              0.08333333333333333,
              0.08333333333333333,
              0.4166666666666667
            ],
            "worstMask": -1,
            "worstMaskAccuracy": "NaN",
            "groupLow": [
              0.0,
              3.384324554477539e-17,
              0.6096657120978346,
              0.8864866068260312
            ],
            "groupHigh": [
              0.11351339317396876,
              0.39033428790216534,
              1.0,
              1.0
            ],
            "confusion": [
              "0",
              "30",
              "0",
              "6",
              "0",
              "6",
              "0",
              "30"
            ],
            "balancedAccuracy": 0.5,
            "meanGroupAccuracy": 0.5,
            "auroc": 0.9776234567901234,
            "ece": 0.25444383431552564,
            "eceBins": 15,
            "brier": 0.2902305587769165,
            "notes": [
              {
                "id": "predicts_one_class",
                "text": "class ''dark'' is predicted for all 72 rows"
              }
            ]
          },
          "epoch": 1.0,
          "step": "9"
        },
        {
          "split": "val",
          "metrics": {
            "groups": [
              {
                "name": "bright, green",
                "className": "bright",
                "attributeValue": "green",
                "count": "8"
              },
              {
                "index": 1,
                "name": "bright, red",
                "a": 1,
                "className": "bright",
                "attributeValue": "red",
                "count": "8"
              },
              {
                "index": 2,
                "name": "dark, green",
                "y": 1,
                "className": "dark",
                "attributeValue": "green",
                "count": "8"
              },
              {
                "index": 3,
                "name": "dark, red",
                "y": 1,
                "a": 1,
                "className": "dark",
                "attributeValue": "red",
                "count": "8"
              }
            ],
            "correct": [
              "0",
              "0",
              "8",
              "8"
            ],
            "groupAccuracy": [
              0.0,
              0.0,
              1.0,
              1.0
            ],
            "averageAccuracy": 0.5,
            "weightedAverageAccuracy": 0.5,
            "loss": 0.7724344626696635,
            "averageWeights": [
              0.4166666666666667,
              0.08333333333333333,
              0.08333333333333333,
              0.4166666666666667
            ],
            "worstMask": -1,
            "worstMaskAccuracy": "NaN",
            "groupLow": [
              0.0,
              0.0,
              0.6755924351161198,
              0.6755924351161198
            ],
            "groupHigh": [
              0.32440756488388023,
              0.32440756488388023,
              1.0,
              1.0
            ],
            "confusion": [
              "0",
              "8",
              "0",
              "8",
              "0",
              "8",
              "0",
              "8"
            ],
            "balancedAccuracy": 0.5,
            "meanGroupAccuracy": 0.5,
            "auroc": 1.0,
            "ece": 0.3660934766871712,
            "eceBins": 15,
            "brier": 0.2870045429520941,
            "notes": [
              {
                "id": "predicts_one_class",
                "text": "class ''dark'' is predicted for all 32 rows"
              }
            ]
          },
          "epoch": 1.0,
          "step": "9"
        },
        {
          "split": "test",
          "metrics": {
            "groups": [
              {
                "name": "bright, green",
                "className": "bright",
                "attributeValue": "green",
                "count": "10"
              },
              {
                "index": 1,
                "name": "bright, red",
                "a": 1,
                "className": "bright",
                "attributeValue": "red",
                "count": "10"
              },
              {
                "index": 2,
                "name": "dark, green",
                "y": 1,
                "className": "dark",
                "attributeValue": "green",
                "count": "10"
              },
              {
                "index": 3,
                "name": "dark, red",
                "y": 1,
                "a": 1,
                "className": "dark",
                "attributeValue": "red",
                "count": "10"
              }
            ],
            "correct": [
              "0",
              "0",
              "10",
              "10"
            ],
            "groupAccuracy": [
              0.0,
              0.0,
              1.0,
              1.0
            ],
            "averageAccuracy": 0.5,
            "weightedAverageAccuracy": 0.5,
            "loss": 0.7722370953254447,
            "averageWeights": [
              0.4166666666666667,
              0.08333333333333333,
              0.08333333333333333,
              0.4166666666666667
            ],
            "worstMask": -1,
            "worstMaskAccuracy": "NaN",
            "groupLow": [
              0.0,
              0.0,
              0.7224672001371106,
              0.7224672001371106
            ],
            "groupHigh": [
              0.2775327998628892,
              0.2775327998628892,
              0.9999999999999999,
              0.9999999999999999
            ],
            "confusion": [
              "0",
              "10",
              "0",
              "10",
              "0",
              "10",
              "0",
              "10"
            ],
            "balancedAccuracy": 0.5,
            "meanGroupAccuracy": 0.5,
            "auroc": 1.0,
            "ece": 0.3630810270271675,
            "eceBins": 15,
            "brier": 0.2869302241592808,
            "notes": [
              {
                "id": "predicts_one_class",
                "text": "class ''dark'' is predicted for all 40 rows"
              }
            ]
          },
          "epoch": 1.0,
          "step": "9"
        }
      ],
      "created": "2026-11-30T10:16:19.126366464Z",
      "trainSeconds": 2.6592353770001864,
      "stepsPerEpoch": "9"
    }
  },
  "created": "2026-11-30T10:15:43.067035136Z",
  "started": "2026-11-30T10:15:44.826532352Z",
  "finished": "2026-11-30T10:16:24.445594368Z",
  "lastSeq": "15"
}');
INSERT INTO "job" VALUES('e6f79532604d','eba5e7612cd618d4e0638938a9364c306862593a0507902b2d762891bda45a75',NULL,'JOB_STATE_SUCCEEDED',1.79603378456991410257e+09,0,'{
  "id": "e6f79532604d",
  "spec": {
    "extract": {
      "checkpoint": "62637b06aed903d0914d1cdd1b9846b3bfb6e5bbd81bb0902a298d42ecb4f3a6",
      "dataset": "shapes",
      "attribute": "ground",
      "splits": [
        "train",
        "val",
        "test"
      ],
      "dtype": "float32",
      "batchSize": 64,
      "featureKind": "pooled"
    }
  },
  "state": "JOB_STATE_SUCCEEDED",
  "attempt": 1,
  "progress": {
    "stage": "test",
    "done": 144.0,
    "total": 144.0,
    "unit": "examples"
  },
  "result": {
    "extract": {
      "featureSets": [
        {
          "digest": "c146b4ed9a3a7a397edeb6d50b085f98b3e8ddd30b5d401af4dcf56736bc24a4",
          "nExamples": "72",
          "nFeatures": "96",
          "dtype": "DTYPE_FLOAT32",
          "labels": {
            "classes": [
              "bright",
              "dark"
            ],
            "attribute": "ground",
            "attributeValues": [
              "green",
              "red"
            ]
          },
          "groups": [
            {
              "name": "bright, green",
              "className": "bright",
              "attributeValue": "green",
              "count": "30"
            },
            {
              "index": 1,
              "name": "bright, red",
              "a": 1,
              "className": "bright",
              "attributeValue": "red",
              "count": "6"
            },
            {
              "index": 2,
              "name": "dark, green",
              "y": 1,
              "className": "dark",
              "attributeValue": "green",
              "count": "6"
            },
            {
              "index": 3,
              "name": "dark, red",
              "y": 1,
              "a": 1,
              "className": "dark",
              "attributeValue": "red",
              "count": "30"
            }
          ],
          "hasLogits": true,
          "hasHead": true,
          "featureKind": "pooled",
          "checkpoint": "62637b06aed903d0914d1cdd1b9846b3bfb6e5bbd81bb0902a298d42ecb4f3a6",
          "dataset": "shapes",
          "datasetDigest": "9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40",
          "split": "train",
          "created": "2026-11-30T10:16:26.187437312Z",
          "storedBytes": "36243",
          "trainShares": [
            0.4166666666666667,
            0.08333333333333333,
            0.08333333333333333,
            0.4166666666666667
          ],
          "extractRate": 142.01372419446642,
          "attributes": [
            {
              "name": "ground",
              "values": [
                "green",
                "red"
              ]
            }
          ]
        },
        {
          "digest": "d4ee8d2ccb24c1f5b80ba150ced076e72a640cd6b254238a107173df45e2ef8a",
          "nExamples": "32",
          "nFeatures": "96",
          "dtype": "DTYPE_FLOAT32",
          "labels": {
            "classes": [
              "bright",
              "dark"
            ],
            "attribute": "ground",
            "attributeValues": [
              "green",
              "red"
            ]
          },
          "groups": [
            {
              "name": "bright, green",
              "className": "bright",
              "attributeValue": "green",
              "count": "8"
            },
            {
              "index": 1,
              "name": "bright, red",
              "a": 1,
              "className": "bright",
              "attributeValue": "red",
              "count": "8"
            },
            {
              "index": 2,
              "name": "dark, green",
              "y": 1,
              "className": "dark",
              "attributeValue": "green",
              "count": "8"
            },
            {
              "index": 3,
              "name": "dark, red",
              "y": 1,
              "a": 1,
              "className": "dark",
              "attributeValue": "red",
              "count": "8"
            }
          ],
          "hasLogits": true,
          "hasHead": true,
          "featureKind": "pooled",
          "checkpoint": "62637b06aed903d0914d1cdd1b9846b3bfb6e5bbd81bb0902a298d42ecb4f3a6",
          "dataset": "shapes",
          "datasetDigest": "9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40",
          "split": "val",
          "created": "2026-11-30T10:16:26.665733632Z",
          "storedBytes": "19283",
          "trainShares": [
            0.4166666666666667,
            0.08333333333333333,
            0.08333333333333333,
            0.4166666666666667
          ],
          "extractRate": 294.2210165285402,
          "attributes": [
            {
              "name": "ground",
              "values": [
                "green",
                "red"
              ]
            }
          ]
        },
        {
          "digest": "b73fa1d63aeef7191273526e87916dadc63e177ed64684b25ae4ba51ad4d8947",
          "nExamples": "40",
          "nFeatures": "96",
          "dtype": "DTYPE_FLOAT32",
          "labels": {
            "classes": [
              "bright",
              "dark"
            ],
            "attribute": "ground",
            "attributeValues": [
              "green",
              "red"
            ]
          },
          "groups": [
            {
              "name": "bright, green",
              "className": "bright",
              "attributeValue": "green",
              "count": "10"
            },
            {
              "index": 1,
              "name": "bright, red",
              "a": 1,
              "className": "bright",
              "attributeValue": "red",
              "count": "10"
            },
            {
              "index": 2,
              "name": "dark, green",
              "y": 1,
              "className": "dark",
              "attributeValue": "green",
              "count": "10"
            },
            {
              "index": 3,
              "name": "dark, red",
              "y": 1,
              "a": 1,
              "className": "dark",
              "attributeValue": "red",
              "count": "10"
            }
          ],
          "hasLogits": true,
          "hasHead": true,
          "featureKind": "pooled",
          "checkpoint": "62637b06aed903d0914d1cdd1b9846b3bfb6e5bbd81bb0902a298d42ecb4f3a6",
          "dataset": "shapes",
          "datasetDigest": "9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40",
          "split": "test",
          "created": "2026-11-30T10:16:27.322308096Z",
          "storedBytes": "22675",
          "trainShares": [
            0.4166666666666667,
            0.08333333333333333,
            0.08333333333333333,
            0.4166666666666667
          ],
          "extractRate": 177.47858359264538,
          "attributes": [
            {
              "name": "ground",
              "values": [
                "green",
                "red"
              ]
            }
          ]
        }
      ]
    }
  },
  "created": "2026-11-30T10:16:24.569898240Z",
  "started": "2026-11-30T10:16:25.001717248Z",
  "finished": "2026-11-30T10:16:27.604417792Z",
  "lastSeq": "6"
}');
INSERT INTO "job" VALUES('10b72d6b59ae','db74abaa2a00fa2b1e9d0671d5aa071d16802ac6c8deef787fe1a31199983d7f',NULL,'JOB_STATE_FAILED',1.79603379255735278122e+09,0,'{
  "id": "10b72d6b59ae",
  "spec": {
    "finetune": {
      "dataset": "shapes",
      "attribute": "ground",
      "backbone": "test_resnet",
      "pretrained": false,
      "balance": {
        "method": "BALANCE_METHOD_NONE"
      },
      "epochs": 1,
      "seed": "0",
      "optimizer": "OPTIMIZER_NAME_ADAMW",
      "learningRate": 1e+30,
      "weightDecay": 0.01,
      "schedule": "SCHEDULE_NAME_COSINE",
      "warmup": 0.1,
      "batchSize": 8,
      "flip": true,
      "imageSize": 0,
      "evaluateEvery": 1.0,
      "checkpointEvery": 1.0,
      "saveEvery": "0",
      "objective": {
        "loss": "LOSS_NAME_MEAN",
        "labelSmoothing": 0.0,
        "mixup": 0.0,
        "sam": 0.0
      },
      "decayAll": false,
      "scheduleByEpoch": false,
      "clipNorm": 0.0,
      "precision": "PRECISION_AUTO",
      "compile": false,
      "accumulate": 1,
      "cropScale": 0.0,
      "processes": 1,
      "imageResize": 0
    }
  },
  "state": "JOB_STATE_FAILED",
  "attempt": 1,
  "progress": {
    "stage": "epoch 1 of 1",
    "done": 1.0,
    "total": 9.0,
    "unit": "steps"
  },
  "error": {
    "kind": "diverged",
    "message": "the loss became nan in epoch 1, step 2; lower the learning rate or lengthen the warm-up",
    "metadata": {
      "loss": "nan",
      "epoch": "1",
      "step": "2"
    }
  },
  "created": "2026-11-30T10:16:32.557328640Z",
  "started": "2026-11-30T10:16:33.148193280Z",
  "finished": "2026-11-30T10:16:59.163947264Z",
  "lastSeq": "5"
}');
CREATE TABLE job_event (
    job TEXT NOT NULL REFERENCES job (id),
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO "job_event" VALUES('10b72d6b59ae',1,'state','{
  "seq": "1",
  "time": "2026-11-30T10:16:32.562477056Z",
  "state": "JOB_STATE_QUEUED"
}');
INSERT INTO "job_event" VALUES('10b72d6b59ae',2,'state','{
  "seq": "2",
  "time": "2026-11-30T10:16:33.148203008Z",
  "state": "JOB_STATE_RUNNING"
}');
INSERT INTO "job_event" VALUES('10b72d6b59ae',4,'progress','{
  "seq": "4",
  "time": "2026-11-30T10:16:58.606943232Z",
  "progress": {
    "stage": "epoch 1 of 1",
    "done": 1.0,
    "total": 9.0,
    "unit": "steps"
  }
}');
INSERT INTO "job_event" VALUES('10b72d6b59ae',5,'state','{
  "seq": "5",
  "time": "2026-11-30T10:16:59.163956736Z",
  "state": "JOB_STATE_FAILED"
}');
INSERT INTO "job_event" VALUES('46699b46ec81',1,'state','{
  "seq": "1",
  "time": "2026-11-30T10:15:37.841400832Z",
  "state": "JOB_STATE_QUEUED"
}');
INSERT INTO "job_event" VALUES('46699b46ec81',2,'state','{
  "seq": "2",
  "time": "2026-11-30T10:15:37.850933504Z",
  "state": "JOB_STATE_RUNNING"
}');
INSERT INTO "job_event" VALUES('46699b46ec81',4,'progress','{
  "seq": "4",
  "time": "2026-11-30T10:15:42.912111616Z",
  "progress": {
    "stage": "reading",
    "done": 144.0,
    "total": 144.0,
    "unit": "files"
  }
}');
INSERT INTO "job_event" VALUES('46699b46ec81',5,'state','{
  "seq": "5",
  "time": "2026-11-30T10:15:43.052966912Z",
  "state": "JOB_STATE_SUCCEEDED"
}');
INSERT INTO "job_event" VALUES('e6f79532604d',1,'state','{
  "seq": "1",
  "time": "2026-11-30T10:16:24.580410880Z",
  "state": "JOB_STATE_QUEUED"
}');
INSERT INTO "job_event" VALUES('e6f79532604d',2,'state','{
  "seq": "2",
  "time": "2026-11-30T10:16:25.001728Z",
  "state": "JOB_STATE_RUNNING"
}');
INSERT INTO "job_event" VALUES('e6f79532604d',5,'progress','{
  "seq": "5",
  "time": "2026-11-30T10:16:27.298941696Z",
  "progress": {
    "stage": "test",
    "done": 144.0,
    "total": 144.0,
    "unit": "examples"
  }
}');
INSERT INTO "job_event" VALUES('e6f79532604d',6,'state','{
  "seq": "6",
  "time": "2026-11-30T10:16:27.604427520Z",
  "state": "JOB_STATE_SUCCEEDED"
}');
INSERT INTO "job_event" VALUES('f3d5673228f0',1,'state','{
  "seq": "1",
  "time": "2026-11-30T10:15:43.069323264Z",
  "state": "JOB_STATE_QUEUED"
}');
INSERT INTO "job_event" VALUES('f3d5673228f0',2,'state','{
  "seq": "2",
  "time": "2026-11-30T10:15:44.826543104Z",
  "state": "JOB_STATE_RUNNING"
}');
INSERT INTO "job_event" VALUES('f3d5673228f0',10,'metrics','{
  "seq": "10",
  "time": "2026-11-30T10:16:23.353912832Z",
  "metrics": {
    "split": "train",
    "metrics": {
      "groups": [
        {
          "name": "bright, green",
          "className": "bright",
          "attributeValue": "green",
          "count": "30"
        },
        {
          "index": 1,
          "name": "bright, red",
          "a": 1,
          "className": "bright",
          "attributeValue": "red",
          "count": "6"
        },
        {
          "index": 2,
          "name": "dark, green",
          "y": 1,
          "className": "dark",
          "attributeValue": "green",
          "count": "6"
        },
        {
          "index": 3,
          "name": "dark, red",
          "y": 1,
          "a": 1,
          "className": "dark",
          "attributeValue": "red",
          "count": "30"
        }
      ],
      "correct": [
        "0",
        "0",
        "6",
        "30"
      ],
      "groupAccuracy": [
        0.0,
        0.0,
        1.0,
        1.0
      ],
      "averageAccuracy": 0.5,
      "weightedAverageAccuracy": 0.5,
      "loss": 0.7805539166846253,
      "averageWeights": [
        0.4166666666666667,
        0.08333333333333333,
        0.08333333333333333,
        0.4166666666666667
      ],
      "worstMask": -1,
      "worstMaskAccuracy": "NaN",
      "groupLow": [
        0.0,
        3.384324554477539e-17,
        0.6096657120978346,
        0.8864866068260312
      ],
      "groupHigh": [
        0.11351339317396876,
        0.39033428790216534,
        1.0,
        1.0
      ],
      "confusion": [
        "0",
        "30",
        "0",
        "6",
        "0",
        "6",
        "0",
        "30"
      ],
      "balancedAccuracy": 0.5,
      "meanGroupAccuracy": 0.5,
      "auroc": 0.9776234567901234,
      "ece": 0.25444383431552564,
      "eceBins": 15,
      "brier": 0.2902305587769165,
      "notes": [
        {
          "id": "predicts_one_class",
          "text": "class ''dark'' is predicted for all 72 rows"
        }
      ]
    },
    "epoch": 1.0,
    "step": "9"
  }
}');
INSERT INTO "job_event" VALUES('f3d5673228f0',12,'metrics','{
  "seq": "12",
  "time": "2026-11-30T10:16:23.566495744Z",
  "metrics": {
    "split": "val",
    "metrics": {
      "groups": [
        {
          "name": "bright, green",
          "className": "bright",
          "attributeValue": "green",
          "count": "8"
        },
        {
          "index": 1,
          "name": "bright, red",
          "a": 1,
          "className": "bright",
          "attributeValue": "red",
          "count": "8"
        },
        {
          "index": 2,
          "name": "dark, green",
          "y": 1,
          "className": "dark",
          "attributeValue": "green",
          "count": "8"
        },
        {
          "index": 3,
          "name": "dark, red",
          "y": 1,
          "a": 1,
          "className": "dark",
          "attributeValue": "red",
          "count": "8"
        }
      ],
      "correct": [
        "0",
        "0",
        "8",
        "8"
      ],
      "groupAccuracy": [
        0.0,
        0.0,
        1.0,
        1.0
      ],
      "averageAccuracy": 0.5,
      "weightedAverageAccuracy": 0.5,
      "loss": 0.7724344626696635,
      "averageWeights": [
        0.4166666666666667,
        0.08333333333333333,
        0.08333333333333333,
        0.4166666666666667
      ],
      "worstMask": -1,
      "worstMaskAccuracy": "NaN",
      "groupLow": [
        0.0,
        0.0,
        0.6755924351161198,
        0.6755924351161198
      ],
      "groupHigh": [
        0.32440756488388023,
        0.32440756488388023,
        1.0,
        1.0
      ],
      "confusion": [
        "0",
        "8",
        "0",
        "8",
        "0",
        "8",
        "0",
        "8"
      ],
      "balancedAccuracy": 0.5,
      "meanGroupAccuracy": 0.5,
      "auroc": 1.0,
      "ece": 0.3660934766871712,
      "eceBins": 15,
      "brier": 0.2870045429520941,
      "notes": [
        {
          "id": "predicts_one_class",
          "text": "class ''dark'' is predicted for all 32 rows"
        }
      ]
    },
    "epoch": 1.0,
    "step": "9"
  }
}');
INSERT INTO "job_event" VALUES('f3d5673228f0',13,'progress','{
  "seq": "13",
  "time": "2026-11-30T10:16:23.584030976Z",
  "progress": {
    "stage": "epoch 1 of 1: test",
    "done": 9.0,
    "total": 9.0,
    "unit": "steps"
  }
}');
INSERT INTO "job_event" VALUES('f3d5673228f0',14,'metrics','{
  "seq": "14",
  "time": "2026-11-30T10:16:23.797797888Z",
  "metrics": {
    "split": "test",
    "metrics": {
      "groups": [
        {
          "name": "bright, green",
          "className": "bright",
          "attributeValue": "green",
          "count": "10"
        },
        {
          "index": 1,
          "name": "bright, red",
          "a": 1,
          "className": "bright",
          "attributeValue": "red",
          "count": "10"
        },
        {
          "index": 2,
          "name": "dark, green",
          "y": 1,
          "className": "dark",
          "attributeValue": "green",
          "count": "10"
        },
        {
          "index": 3,
          "name": "dark, red",
          "y": 1,
          "a": 1,
          "className": "dark",
          "attributeValue": "red",
          "count": "10"
        }
      ],
      "correct": [
        "0",
        "0",
        "10",
        "10"
      ],
      "groupAccuracy": [
        0.0,
        0.0,
        1.0,
        1.0
      ],
      "averageAccuracy": 0.5,
      "weightedAverageAccuracy": 0.5,
      "loss": 0.7722370953254447,
      "averageWeights": [
        0.4166666666666667,
        0.08333333333333333,
        0.08333333333333333,
        0.4166666666666667
      ],
      "worstMask": -1,
      "worstMaskAccuracy": "NaN",
      "groupLow": [
        0.0,
        0.0,
        0.7224672001371106,
        0.7224672001371106
      ],
      "groupHigh": [
        0.2775327998628892,
        0.2775327998628892,
        0.9999999999999999,
        0.9999999999999999
      ],
      "confusion": [
        "0",
        "10",
        "0",
        "10",
        "0",
        "10",
        "0",
        "10"
      ],
      "balancedAccuracy": 0.5,
      "meanGroupAccuracy": 0.5,
      "auroc": 1.0,
      "ece": 0.3630810270271675,
      "eceBins": 15,
      "brier": 0.2869302241592808,
      "notes": [
        {
          "id": "predicts_one_class",
          "text": "class ''dark'' is predicted for all 40 rows"
        }
      ]
    },
    "epoch": 1.0,
    "step": "9"
  }
}');
INSERT INTO "job_event" VALUES('f3d5673228f0',15,'state','{
  "seq": "15",
  "time": "2026-11-30T10:16:24.445604352Z",
  "state": "JOB_STATE_SUCCEEDED"
}');
CREATE TABLE result (
    digest TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    created REAL NOT NULL,
    message BLOB NOT NULL
) STRICT;
INSERT INTO "result" VALUES('ddd1533997b4c500b693c073730f0ec89b19122d6203d26c6d0d7ee93ad1f7e9','refit',1.79603379128146100045e+09,X'0A406464643135333339393762346335303062363933633037333733306630656338396231393132326436323033643236633664306437656539336164316637653912EA010A406434656538643263636232346331663562383062613135306365643037366537326136343063643662323534323338613130373137336466343565326566386112066466725F6C321A0608021002200121FCA9F1D24D62503F300A42480A0474657374124062373366613164363361656566373139313237333532366538373931366461646336336531373765643634363834623235616534626135316164346438393437498DEDB5A0F7C6B03E506459000000000000000060016A0208017001780182010208028A010B080121000000000000F03F92010208019A01020801A00101AA010208011AF50C0A890C0803120202601A800C00000000000000000000000000000000D226D59FF968F53F8AFAD4C5A9621A404280A3FAA138EEBF8D3C5CD31C6E02C040D0C2DC566FE7BFFB146FA12ECBDCBF00000000000000003E815BCDF5BFD13F6E3E8D80EDC1CD3F5AA3207AE4DE1EC0D1329F467CD004C06F2C9DE006C001C0000000000000000000000000000000000000000000000000000000000000000092A2AE53BE980BC09673751C5EA9FE3FDF77AC498B67E6BF051CDFDB2E63FEBF1605725F0F810440FB2C977822DD0D4086A6A12EFC6E17400000000000000000C9670D21B3D5D0BFF803166571E814C0E7F16A96CBAD04C0E6BDEBBD0E239EBF0000000000000000D1724CFF8F7F01409A9026A673A5FABF000000000000000032BD85EF970E06C09DFEEC5A91C320C0000000000000000020A4308A6B100DC000000000000000000000000000000000C2C834A527A1D93F0000000000000000C8FEED7784AC17C0000000000000000077533F683B53C63F0000000000000000431810F50A6EF3BF00000000000000000000000000000000FEE1EB806D6EF4BF0000000000000000FFB1CFECC3DEE2BF0A94BAFADF74F8BFA2D02B7792AAC93F00000000000000003A78FCF322FBF63FEF8422A56AB40140000000000000000013B66D1DEC17074096709E9FE2131AC003517C4235A814402098F3142AA9124093CA209EF61FD83F00000000000000008FBCFA9039EAB43F00000000000000000000000000000000EE1C3A5F9C09F73FD2F84BF1FA961E407A862F48840A49400000000000000000105B29EA05082340000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000E9C2C68B1D22D43FE072B32444B81CC0000000000000000080FC80E4A318DE3FC22EF672FDEEC93F6E389C5F59C7CD3F00000000000000007A365A306846E2BFDEE5E2478B48EEBF12F79A9C67AC0140A217844B3A0B0DC0C9F3A28F85CCC73F6FCD46261233F4BF1AE8089584E919C0A1E860322EFDD73FA09D827F802ED0BF96C84CB23DE3FF3FFDEB49855E9101C000000000000000000000000000000000D226D59FF968F5BF8AFAD4C5A9621AC04280A3FAA138EE3F8D3C5CD31C6E024040D0C2DC566FE73FFB146FA12ECBDC3F00000000000000003E815BCDF5BFD1BF6E3E8D80EDC1CDBF5AA3207AE4DE1E40D1329F467CD004406F2C9DE006C00140000000000000000000000000000000000000000000000000000000000000000092A2AE53BE980B409673751C5EA9FEBFDF77AC498B67E63F051CDFDB2E63FE3F1605725F0F8104C0FB2C977822DD0DC086A6A12EFC6E17C00000000000000000C9670D21B3D5D03FF803166571E81440E7F16A96CBAD0440E6BDEBBD0E239E3F0000000000000000D1724CFF8F7F01C09A9026A673A5FA3F000000000000000032BD85EF970E06409DFEEC5A91C32040000000000000000020A4308A6B100D4000000000000000000000000000000000C2C834A527A1D9BF0000000000000000C8FEED7784AC1740000000000000000077533F683B53C6BF0000000000000000431810F50A6EF33F00000000000000000000000000000000FEE1EB806D6EF43F0000000000000000FFB1CFECC3DEE23F0A94BAFADF74F83FA2D02B7792AAC9BF00000000000000003A78FCF322FBF6BFEF8422A56AB401C0000000000000000013B66D1DEC1707C096709E9FE2131A4003517C4235A814C02098F3142AA912C093CA209EF61FD8BF00000000000000008FBCFA9039EAB4BF00000000000000000000000000000000EE1C3A5F9C09F7BFD2F84BF1FA961EC07A862F48840A49C00000000000000000105B29EA050823C0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000E9C2C68B1D22D4BFE072B32444B81C40000000000000000080FC80E4A318DEBFC22EF672FDEEC9BF6E389C5F59C7CDBF00000000000000007A365A306846E23FDEE5E2478B48EE3F12F79A9C67AC01C0A217844B3A0B0D40C9F3A28F85CCC7BF6FCD46261233F43F1AE8089584E91940A1E860322EFDD7BFA09D827F802ED03F96C84CB23DE3FFBFFDEB49855E910140121708031201021A109A66FE9F865F2D409A66FE9F865F2DC01A066272696768741A046461726B224036323633376230366165643930336430393134643163646431623938343662336266623665356262643831626230393032613239386434326563623466336136222B080111DB038FE71D52243E195735F1E71B3FC23E200A288201313EE3BB75CB76663F39178E8140A1D1613F2A9E030A04746573741295030A20120D6272696768742C20677265656E2A066272696768743205677265656E380A0A200801120B6272696768742C2072656420012A066272696768743203726564380A0A200802120B6461726B2C20677265656E18012A046461726B3205677265656E380A0A1E080312096461726B2C20726564180120012A046461726B3203726564380A12040A0A0A0A1A20000000000000F03F000000000000F03F000000000000F03F000000000000F03F21000000000000F03F29000000000000F03F31000000000000F03F41000000000000F03F4978E58BD1DE70323F5220ABAAAAAAAAAADA3F555555555555B53F555555555555B53FABAAAAAAAAAADA3F60FFFFFFFFFFFFFFFFFF0169000000000000F87F7220C2B0A088731EE73FC2B0A088731EE73FC2B0A088731EE73FC2B0A088731EE73F7A20FFFFFFFFFFFFEF3FFFFFFFFFFFFFEF3FFFFFFFFFFFFFEF3FFFFFFFFFFFFFEF3F8201080A000A00000A000A8901000000000000F03F9101000000000000F03F9901000000000000F03FA101007E1C3BDA6D323FA8010FB1015D0F968D731C983E3020');
INSERT INTO "result" VALUES('0edaf867948a2352a43b5e3bedb582d19d6f25fa737bb327250380afba3afbb0','refit',1.79603379148646450039e+09,X'0A40306564616638363739343861323335326134336235653362656462353832643139643666323566613733376262333237323530333830616662613361666262301296010A40636337646238653836386132643235666533666638666333343630386435343936643136363665323136656464633039303765333165643761303332396365351A0408012001219A9999999999B93F3001498DEDB5A0F7C6B03E506459000000000000000060016A0208017001780182010208028A010B080121000000000000F03F92010208019A01020801A00101AA010208011A630A480803120202041A404880FC4D8DA8A4BF425DBDED5038B3BFEFC3FD73A226D23F7FBFDE464EE1B33F4880FC4D8DA8A43F425DBDED5038B33FEFC3FD73A226D2BF7FBFDE464EE1B3BF121708031201021A1009179E954245983F09179E95424598BF222A0801111E481749BAEF1B3E199DBE47C9F2E8F23E2004280A31579828FD345BE43F3944AE997B2FA3273F3028');
INSERT INTO "result" VALUES('2286ed22d471c3fd45ca6258b5b521ae247beed6abc2928353e4b4da763666e6','spectra',1.79603379200785946839e+09,X'0A40323238366564323264343731633366643435636136323538623562353231616532343762656564366162633239323833353365346234646137363336363665361240636337646238653836386132643235666533666638666333343630386435343936643136363665323136656464633039303765333165643761303332396365351A0E1204302C20302A0130320130380A1A1208011204302C203120012A0130320131380A1A1208021204312C203018012A0131320130380A1A1408031204312C2031180120012A0131320131380A2289010803120204041A8001719955B15B12F73F3B5F2BB5384BEC3F3EA513E7FFC6E43FD4F7A82312D2C53FF63CD0CD1651FB3F8AD7F8188D68F13F1210BF6CBDEEE03F7F3174A77030D03F160D75106D0DFA3FFA0A1EE48A8CED3FCE6E2646CA5DE13F7653F20CE402D03F769CC2E40CBCF73F2A390FDBF5A3F03F2E6CE295165FDE3FEBA06C7D4840C13F2A2708031201041A20561DF521DD2A094076D482638F9E0C406BEF6954A8C10A4065027CBAE80F094032451801200A280A3147A51E1FF506EB3F39344BB818F506EB3F418053AFEE6D72E13F49A2A3D9307D93F33F519A9999999999C93F599A9999999999D93F61BDD4073A95D5163D3249080110021803200A280A31E33576F60190F13F39FEDA7FF20190F13F41498A8C34C5C0DF3F497A01E6D0FBA20A4051333333333333E33F59333333333333E33F61D9BC05565BA9283D380158016289010803120204041A8001B2BC69CCBBBE0D3DB2BC69CCBBBE0D3DB2BC69CCBBBE0D3DB2BC69CCBBBE0D3DC039F430847A133DC039F430847A133DC039F430847A133DC039F430847A133D318B83FBFB8E123D318B83FBFB8E123D318B83FBFB8E123D318B83FBFB8E123D36A0CED537960E3D36A0CED537960E3D36A0CED537960E3D36A0CED537960E3D6A0466756C6C6A0466756C6C6A0466756C6C6A0466756C6C72040101010178048101666666666666EE3F900128980128');
INSERT INTO "result" VALUES('3662a0b425b31215bf60611d3202d32a70500d318b5ab1316ef97544879b1fff','spectra',1.79603379229937386513e+09,X'0A40333636326130623432356233313231356266363036313164333230326433326137303530306433313862356162313331366566393735343438373962316666661240633134366234656439613361376133393765646562366435306230383566393862336538646464333062356434303161663464636635363733366263323461341A20120D6272696768742C20677265656E2A066272696768743205677265656E381E1A200801120B6272696768742C2072656420012A06627269676874320372656438061A200802120B6461726B2C20677265656E18012A046461726B3205677265656E38061A1E080312096461726B2C20726564180120012A046461726B3203726564381E22480803120204021A40C77DE2271524913FC083CD5B4D01863FF5C12188FA66983F81B06837CC21903FC84A0B5FC3D7923F5FB9447E1CA68C3FC4C9E81E85578C3F208FA30AEADE833F2A2708031201041A200AAAAF248508B13FE92B4F4D4BF6AD3FD4A2BE0922EDA53F09ABC3B66805A63F324510012006281E31D37F13B129C7F63F39000000000000F87F41000000000000F87F49000000000000F87F51000000000000F87F59000000000000F87F61000000000000F87F32490801100218032006281E31AC75A3795F46F53F39000000000000F87F41000000000000F87F49000000000000F87F51000000000000F87F59000000000000F87F61000000000000F87F3801580162480803120204021A404C54B842FBE0C83C4C54B842FBE0C83C088BA861E77DC33C088BA861E77DC33CB74CDB33E29EBC3CB74CDB33E29EBC3CC507523D73CEC03CC507523D73CEC03C6A0466756C6C6A0466756C6C6A0466756C6C6A0466756C6C7204010101018101666666666666EE3F900148980148A2010C663364353637333232386630');
INSERT INTO "result" VALUES('bc4ceaee2898c9cc3e4bfd713ef151874af1a4709d8d26bd1c4c7497a594f15d','descriptors',1.79603379250986480708e+09,X'0A40626334636561656532383938633963633365346266643731336566313531383734616631613437303964386432366264316334633734393761353934663135641240636337646238653836386132643235666533666638666333343630386435343936643136363665323136656464633039303765333165643761303332396365351801220E1204302C20302A0130320130380A221208011204302C203120012A0130320131380A221208021204312C203018012A0131320130380A221408031204312C2031180120012A0131320131380A2A6C0A1370617274696369706174696F6E5F726174696F121B2873756D5F69206C5F69295E32202F2073756D5F69206C5F695E321A0F47616F20657420616C2E2032303137222708031201041A201AD36E314DE80740A2D892F1AF0B0740944BD5E6562D0740CAAB6759234506402AA0010A0E6566666563746976655F72616E6B122E657870282D73756D5F6920705F69206C6F6720705F69292C20705F69203D206C5F69202F2073756D5F6A206C5F6A1A35526F792026205665747465726C6920323030372C206F6E20656967656E76616C756573206F662074686520636F76617269616E6365222708031201041A203A2AA9CB99810A409B123898A12A0A408306A770616C0A409B5D5303E40B09402AB4010A0772616E6B5F6D651264657870282D73756D5F6920705F69206C6F6720705F69292C20705F69203D20735F69202F2073756D5F6A20735F6A202B2031652D372C2073203D2073696E67756C61722076616C756573206F662074686520726F77732C206E6F742063656E74657265641A1A4761727269646F20657420616C2E20323032332C2065712E2031222708031201041A20CA833BC3DAFE0D4087073E1DE5EA0E4058A602B4AF840E40D3287E622C290E402ACF010A12706F7765725F6C61775F6578706F6E656E741259616C706861206F66206C6F67206C5F69203D2063202D20616C706861206C6F672069206279206C6561737420737175617265732077697468207765696768747320312F69206F7665722072616E6B73203131202E2E2E2035301A354167726177616C20657420616C2E20323032322028616C7068612D526551293B20537472696E67657220657420616C2E2032303139222708031201041A20000000000000F87F000000000000F87F000000000000F87F000000000000F87F324D0A0B636C6173735F73686172651235747220535F6265747765656E202F20747220535F746F74616C2C20535F6265747765656E206F7665722074686520636C617373657319F37A070D4F5CA53F325C0A0F6174747269627574655F73686172651240747220535F6265747765656E202F20747220535F746F74616C2C20535F6265747765656E206F766572207468652061747472696275746527732076616C75657319E2699F14C1A1A43F324C0A0B67726F75705F73686172651234747220535F6265747765656E202F20747220535F746F74616C2C20535F6265747765656E206F766572207468652067726F757073195723B94C386EBA3F');
INSERT INTO "result" VALUES('6f42c8fde14c848ac32d10b1b5f22d0c7042a088acca10fc6ee0531b36a49529','principal_angles',1.79603379254784941668e+09,X'0A4036663432633866646531346338343861633332643130623162356632326430633730343261303838616363613130666336656530353331623336613439353239120E1204302C20302A0130320130380A1A1208011204302C203120012A0130320131380A2240636337646238653836386132643235666533666638666333343630386435343936643136363665323136656464633039303765333165643761303332396365352240383766313931643038373062656334386464663138306539393065376632333030643335663561353937653532393533393539363031353364646130386237352A1708031201021A107C232B0DF181E23F56CB682F6291F63F3266617263636F73206F66207468652073696E67756C61722076616C756573206F6620555E5420563B2061726373696E206F662074686F7365206F662056202D205520555E54205620776865726520746861742069732074686520736D616C6C657220616E676C65');
CREATE TABLE run (id TEXT PRIMARY KEY, created REAL NOT NULL, message TEXT NOT NULL) STRICT;
INSERT INTO "run" VALUES('f3d5673228f0',1.79603378444067025183e+09,'{
  "id": "f3d5673228f0",
  "spec": {
    "dataset": "shapes",
    "attribute": "ground",
    "backbone": "test_resnet",
    "pretrained": false,
    "balance": {
      "method": "BALANCE_METHOD_NONE"
    },
    "epochs": 1,
    "seed": "0",
    "optimizer": "OPTIMIZER_NAME_ADAMW",
    "learningRate": 0.003,
    "weightDecay": 0.01,
    "schedule": "SCHEDULE_NAME_COSINE",
    "warmup": 0.1,
    "batchSize": 8,
    "flip": true,
    "imageSize": 0,
    "evaluateEvery": 1.0,
    "checkpointEvery": 1.0,
    "saveEvery": "0",
    "objective": {
      "loss": "LOSS_NAME_MEAN",
      "labelSmoothing": 0.0,
      "mixup": 0.0,
      "sam": 0.0
    },
    "decayAll": false,
    "scheduleByEpoch": false,
    "clipNorm": 0.0,
    "precision": "PRECISION_AUTO",
    "compile": false,
    "accumulate": 1,
    "cropScale": 0.0,
    "processes": 1,
    "imageResize": 0
  },
  "datasetDigest": "9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40",
  "nTrainExamples": "72",
  "checkpoints": [
    {
      "digest": "b06ad18cc5516717617b28eb3b3c95917ddbbd238947a62ca574256f98ecec6f",
      "runId": "f3d5673228f0",
      "backbone": "test_resnet",
      "dataset": "shapes",
      "datasetDigest": "9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40",
      "nFeatures": 96,
      "nClasses": 2,
      "created": "2026-11-30T10:16:19.763854080Z",
      "classes": [
        "bright",
        "dark"
      ],
      "model": "8ebc50852647ce5eabaafa9b9b21344bf7752cc6329908f1c384e0e6100465ec"
    },
    {
      "digest": "62637b06aed903d0914d1cdd1b9846b3bfb6e5bbd81bb0902a298d42ecb4f3a6",
      "runId": "f3d5673228f0",
      "backbone": "test_resnet",
      "dataset": "shapes",
      "datasetDigest": "9647ee4bfb92046b143d361cc208b0df36425dec1312bae55ff33d481cb96e40",
      "nFeatures": 96,
      "nClasses": 2,
      "created": "2026-11-30T10:16:23.925012224Z",
      "epoch": 1.0,
      "step": "9",
      "classes": [
        "bright",
        "dark"
      ],
      "model": "b9364739227fbec46d0a1b57d4a45da27afb6db7b338fb9de09e83cc7471dfa5"
    }
  ],
  "history": [
    {
      "split": "train",
      "metrics": {
        "groups": [
          {
            "name": "bright, green",
            "className": "bright",
            "attributeValue": "green",
            "count": "30"
          },
          {
            "index": 1,
            "name": "bright, red",
            "a": 1,
            "className": "bright",
            "attributeValue": "red",
            "count": "6"
          },
          {
            "index": 2,
            "name": "dark, green",
            "y": 1,
            "className": "dark",
            "attributeValue": "green",
            "count": "6"
          },
          {
            "index": 3,
            "name": "dark, red",
            "y": 1,
            "a": 1,
            "className": "dark",
            "attributeValue": "red",
            "count": "30"
          }
        ],
        "correct": [
          "0",
          "0",
          "6",
          "30"
        ],
        "groupAccuracy": [
          0.0,
          0.0,
          1.0,
          1.0
        ],
        "averageAccuracy": 0.5,
        "weightedAverageAccuracy": 0.5,
        "loss": 0.7805539166846253,
        "averageWeights": [
          0.4166666666666667,
          0.08333333333333333,
          0.08333333333333333,
          0.4166666666666667
        ],
        "worstMask": -1,
        "worstMaskAccuracy": "NaN",
        "groupLow": [
          0.0,
          3.384324554477539e-17,
          0.6096657120978346,
          0.8864866068260312
        ],
        "groupHigh": [
          0.11351339317396876,
          0.39033428790216534,
          1.0,
          1.0
        ],
        "confusion": [
          "0",
          "30",
          "0",
          "6",
          "0",
          "6",
          "0",
          "30"
        ],
        "balancedAccuracy": 0.5,
        "meanGroupAccuracy": 0.5,
        "auroc": 0.9776234567901234,
        "ece": 0.25444383431552564,
        "eceBins": 15,
        "brier": 0.2902305587769165,
        "notes": [
          {
            "id": "predicts_one_class",
            "text": "class ''dark'' is predicted for all 72 rows"
          }
        ]
      },
      "epoch": 1.0,
      "step": "9"
    },
    {
      "split": "val",
      "metrics": {
        "groups": [
          {
            "name": "bright, green",
            "className": "bright",
            "attributeValue": "green",
            "count": "8"
          },
          {
            "index": 1,
            "name": "bright, red",
            "a": 1,
            "className": "bright",
            "attributeValue": "red",
            "count": "8"
          },
          {
            "index": 2,
            "name": "dark, green",
            "y": 1,
            "className": "dark",
            "attributeValue": "green",
            "count": "8"
          },
          {
            "index": 3,
            "name": "dark, red",
            "y": 1,
            "a": 1,
            "className": "dark",
            "attributeValue": "red",
            "count": "8"
          }
        ],
        "correct": [
          "0",
          "0",
          "8",
          "8"
        ],
        "groupAccuracy": [
          0.0,
          0.0,
          1.0,
          1.0
        ],
        "averageAccuracy": 0.5,
        "weightedAverageAccuracy": 0.5,
        "loss": 0.7724344626696635,
        "averageWeights": [
          0.4166666666666667,
          0.08333333333333333,
          0.08333333333333333,
          0.4166666666666667
        ],
        "worstMask": -1,
        "worstMaskAccuracy": "NaN",
        "groupLow": [
          0.0,
          0.0,
          0.6755924351161198,
          0.6755924351161198
        ],
        "groupHigh": [
          0.32440756488388023,
          0.32440756488388023,
          1.0,
          1.0
        ],
        "confusion": [
          "0",
          "8",
          "0",
          "8",
          "0",
          "8",
          "0",
          "8"
        ],
        "balancedAccuracy": 0.5,
        "meanGroupAccuracy": 0.5,
        "auroc": 1.0,
        "ece": 0.3660934766871712,
        "eceBins": 15,
        "brier": 0.2870045429520941,
        "notes": [
          {
            "id": "predicts_one_class",
            "text": "class ''dark'' is predicted for all 32 rows"
          }
        ]
      },
      "epoch": 1.0,
      "step": "9"
    },
    {
      "split": "test",
      "metrics": {
        "groups": [
          {
            "name": "bright, green",
            "className": "bright",
            "attributeValue": "green",
            "count": "10"
          },
          {
            "index": 1,
            "name": "bright, red",
            "a": 1,
            "className": "bright",
            "attributeValue": "red",
            "count": "10"
          },
          {
            "index": 2,
            "name": "dark, green",
            "y": 1,
            "className": "dark",
            "attributeValue": "green",
            "count": "10"
          },
          {
            "index": 3,
            "name": "dark, red",
            "y": 1,
            "a": 1,
            "className": "dark",
            "attributeValue": "red",
            "count": "10"
          }
        ],
        "correct": [
          "0",
          "0",
          "10",
          "10"
        ],
        "groupAccuracy": [
          0.0,
          0.0,
          1.0,
          1.0
        ],
        "averageAccuracy": 0.5,
        "weightedAverageAccuracy": 0.5,
        "loss": 0.7722370953254447,
        "averageWeights": [
          0.4166666666666667,
          0.08333333333333333,
          0.08333333333333333,
          0.4166666666666667
        ],
        "worstMask": -1,
        "worstMaskAccuracy": "NaN",
        "groupLow": [
          0.0,
          0.0,
          0.7224672001371106,
          0.7224672001371106
        ],
        "groupHigh": [
          0.2775327998628892,
          0.2775327998628892,
          0.9999999999999999,
          0.9999999999999999
        ],
        "confusion": [
          "0",
          "10",
          "0",
          "10",
          "0",
          "10",
          "0",
          "10"
        ],
        "balancedAccuracy": 0.5,
        "meanGroupAccuracy": 0.5,
        "auroc": 1.0,
        "ece": 0.3630810270271675,
        "eceBins": 15,
        "brier": 0.2869302241592808,
        "notes": [
          {
            "id": "predicts_one_class",
            "text": "class ''dark'' is predicted for all 40 rows"
          }
        ]
      },
      "epoch": 1.0,
      "step": "9"
    }
  ],
  "created": "2026-11-30T10:16:19.126366464Z",
  "trainSeconds": 2.6592353770001864,
  "stepsPerEpoch": "9"
}');
CREATE INDEX job_by_spec ON job (spec_digest, created);
CREATE INDEX job_by_state ON job (state, created);
COMMIT;
PRAGMA user_version = 1;
