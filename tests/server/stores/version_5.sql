BEGIN TRANSACTION;
CREATE TABLE asked (
    digest TEXT PRIMARY KEY REFERENCES result (digest) ON DELETE CASCADE,
    time REAL NOT NULL
) STRICT;
CREATE TABLE card (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL DEFAULT '',
    tags TEXT NOT NULL DEFAULT '[]',
    note TEXT NOT NULL DEFAULT '',
    user TEXT NOT NULL DEFAULT '',
    created REAL NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT;
INSERT INTO "card" VALUES('job','46699b46ec81','','[]','','',1.79603373782401537894e+09);
INSERT INTO "card" VALUES('job','f3d5673228f0','','[]','','',1.79603374306704807283e+09);
INSERT INTO "card" VALUES('job','e6f79532604d','','[]','','',1.79603378456991410257e+09);
INSERT INTO "card" VALUES('job','10b72d6b59ae','','[]','','',1.79603379255735278122e+09);
INSERT INTO "card" VALUES('run','f3d5673228f0','','[]','','',1.79603378444067025183e+09);
INSERT INTO "card" VALUES('feature_set','c146b4ed9a3a7a397edeb6d50b085f98b3e8ddd30b5d401af4dcf56736bc24a4','','[]','','',1.79603378756134557728e+09);
INSERT INTO "card" VALUES('feature_set','d4ee8d2ccb24c1f5b80ba150ced076e72a640cd6b254238a107173df45e2ef8a','','[]','','',1.79603378757314729695e+09);
INSERT INTO "card" VALUES('feature_set','b73fa1d63aeef7191273526e87916dadc63e177ed64684b25ae4ba51ad4d8947','','[]','','',1796033787.5936);
INSERT INTO "card" VALUES('feature_set','cc7db8e868a2d25fe3ff8fc34608d5496d1666e216eddc0907e31ed7a0329ce5','also-mine','[]','','',1.79603378922888612745e+09);
INSERT INTO "card" VALUES('feature_set','87f191d0870bec48ddf180e990e7f2300d35f5a597e5295395960153dda08b75','other','[]','','',1.79603379093616557114e+09);
INSERT INTO "card" VALUES('result','0edaf867948a2352a43b5e3bedb582d19d6f25fa737bb327250380afba3afbb0','','[]','','',1.79603379148646450039e+09);
INSERT INTO "card" VALUES('result','2286ed22d471c3fd45ca6258b5b521ae247beed6abc2928353e4b4da763666e6','','[]','','',1.79603379200785946839e+09);
INSERT INTO "card" VALUES('result','bc4ceaee2898c9cc3e4bfd713ef151874af1a4709d8d26bd1c4c7497a594f15d','','[]','','',1.79603379250986480708e+09);
INSERT INTO "card" VALUES('result','6f42c8fde14c848ac32d10b1b5f22d0c7042a088acca10fc6ee0531b36a49529','','[]','','',1.79603379254784941668e+09);
INSERT INTO "card" VALUES('checkpoint','b06ad18cc5516717617b28eb3b3c95917ddbbd238947a62ca574256f98ecec6f','','[]','','',1.79603377976401448246e+09);
INSERT INTO "card" VALUES('checkpoint','62637b06aed903d0914d1cdd1b9846b3bfb6e5bbd81bb0902a298d42ecb4f3a6','','[]','','',1.79603378392500591278e+09);
INSERT INTO "card" VALUES('dataset','shapes','','[]','','',0.0);
INSERT INTO "card" VALUES('grouping','9999999999999999999999999999999999999999999999999999999999999999','mine','[]','','ann',1.79609631631199860571e+09);
INSERT INTO "card" VALUES('job','fd8e0035e194','','["a"]','','ann',1.79609631633199453354e+09);
INSERT INTO "card" VALUES('job','b426c82d3c99','','["a"]','','ann',1.79609631636900901789e+09);
INSERT INTO "card" VALUES('job','c9a8105c4da0','','["a"]','','ann',1.79609631638498163219e+09);
CREATE TABLE checkpoint (digest TEXT PRIMARY KEY, message TEXT NOT NULL, dataset TEXT AS (json_extract(message, '$.dataset')) VIRTUAL, backbone TEXT AS (json_extract(message, '$.backbone')) VIRTUAL, run TEXT AS (json_extract(message, '$.runId')) VIRTUAL, model TEXT AS (json_extract(message, '$.model')) VIRTUAL) STRICT;
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
CREATE TABLE commit_count (id INTEGER PRIMARY KEY CHECK (id = 1), n INTEGER NOT NULL) STRICT;
INSERT INTO "commit_count" VALUES(1,19);
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
CREATE TABLE feature_set (digest TEXT PRIMARY KEY, created REAL NOT NULL, message TEXT NOT NULL, dataset TEXT AS (json_extract(message, '$.dataset')) VIRTUAL, split TEXT AS (json_extract(message, '$.split')) VIRTUAL, checkpoint TEXT AS (json_extract(message, '$.checkpoint')) VIRTUAL) STRICT;
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
CREATE TABLE grouping (digest TEXT PRIMARY KEY, created REAL NOT NULL, message TEXT NOT NULL, feature_set TEXT AS (json_extract(message, '$.featureSet')) VIRTUAL, dataset TEXT AS (json_extract(message, '$.dataset')) VIRTUAL, method TEXT AS (json_extract(message, '$.method')) VIRTUAL) STRICT;
INSERT INTO "grouping" VALUES('9999999999999999999999999999999999999999999999999999999999999999',1.79609631631224298474e+09,'{
  "digest": "9999999999999999999999999999999999999999999999999999999999999999",
  "featureSet": "87f191d0870bec48ddf180e990e7f2300d35f5a597e5295395960153dda08b75",
  "dataset": "shapes",
  "method": "errors"
}');
CREATE TABLE job (
    id TEXT PRIMARY KEY,
    spec_digest TEXT NOT NULL,
    request_id TEXT UNIQUE,
    state TEXT NOT NULL,
    created REAL NOT NULL,
    deaths INTEGER NOT NULL DEFAULT 0,
    message TEXT NOT NULL
, dataset TEXT AS (coalesce(json_extract(message, '$.spec.finetune.dataset'), json_extract(message, '$.spec.extract.dataset'), json_extract(message, '$.spec.importCheckpoint.dataset'), json_extract(message, '$.spec.registerDataset.name'))) VIRTUAL) STRICT;
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
INSERT INTO "job" VALUES('fd8e0035e194','spec0','key0','JOB_STATE_RUNNING',1.79609631633256196974e+09,1,'{
  "id": "fd8e0035e194",
  "spec": {
    "extract": {
      "checkpoint": "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
      "dataset": "shapes"
    }
  },
  "state": "JOB_STATE_RUNNING",
  "attempt": 2,
  "progress": {
    "stage": "x",
    "done": 1.0,
    "total": 2.0
  },
  "created": "2026-12-01T03:38:36.332521728Z",
  "started": "2026-12-01T03:38:36.449842176Z",
  "lastSeq": "5"
}');
INSERT INTO "job" VALUES('b426c82d3c99','spec1','key1','JOB_STATE_CANCELLING',1.79609631636947679519e+09,0,'{
  "id": "b426c82d3c99",
  "spec": {
    "extract": {
      "checkpoint": "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
      "dataset": "shapes"
    }
  },
  "state": "JOB_STATE_CANCELLING",
  "attempt": 1,
  "created": "2026-12-01T03:38:36.369445632Z",
  "started": "2026-12-01T03:38:36.470424576Z",
  "lastSeq": "3"
}');
INSERT INTO "job" VALUES('c9a8105c4da0','spec2','key2','JOB_STATE_QUEUED',1.7960963163854758739e+09,0,'{
  "id": "c9a8105c4da0",
  "spec": {
    "extract": {
      "checkpoint": "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
      "dataset": "shapes"
    }
  },
  "state": "JOB_STATE_QUEUED",
  "created": "2026-12-01T03:38:36.385447168Z",
  "lastSeq": "1"
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
INSERT INTO "job_event" VALUES('b426c82d3c99',1,'state','{
  "seq": "1",
  "time": "2026-12-01T03:38:36.373246464Z",
  "state": "JOB_STATE_QUEUED"
}');
INSERT INTO "job_event" VALUES('b426c82d3c99',2,'state','{
  "seq": "2",
  "time": "2026-12-01T03:38:36.470432512Z",
  "state": "JOB_STATE_RUNNING"
}');
INSERT INTO "job_event" VALUES('b426c82d3c99',3,'state','{
  "seq": "3",
  "time": "2026-12-01T03:38:36.493747968Z",
  "state": "JOB_STATE_CANCELLING"
}');
INSERT INTO "job_event" VALUES('c9a8105c4da0',1,'state','{
  "seq": "1",
  "time": "2026-12-01T03:38:36.393304320Z",
  "state": "JOB_STATE_QUEUED"
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
INSERT INTO "job_event" VALUES('fd8e0035e194',1,'state','{
  "seq": "1",
  "time": "2026-12-01T03:38:36.345340416Z",
  "state": "JOB_STATE_QUEUED"
}');
INSERT INTO "job_event" VALUES('fd8e0035e194',2,'state','{
  "seq": "2",
  "time": "2026-12-01T03:38:36.420824064Z",
  "state": "JOB_STATE_RUNNING"
}');
INSERT INTO "job_event" VALUES('fd8e0035e194',3,'state','{
  "seq": "3",
  "time": "2026-12-01T03:38:36.432110848Z",
  "state": "JOB_STATE_QUEUED"
}');
INSERT INTO "job_event" VALUES('fd8e0035e194',4,'state','{
  "seq": "4",
  "time": "2026-12-01T03:38:36.449853696Z",
  "state": "JOB_STATE_RUNNING"
}');
INSERT INTO "job_event" VALUES('fd8e0035e194',5,'progress','{
  "seq": "5",
  "time": "2026-12-01T03:38:36.469027840Z",
  "progress": {
    "stage": "x",
    "done": 1.0,
    "total": 2.0
  }
}');
CREATE TABLE name (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    given REAL NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT;
INSERT INTO "name" VALUES('feature_set','mine','cc7db8e868a2d25fe3ff8fc34608d5496d1666e216eddc0907e31ed7a0329ce5',1.79603378922888612745e+09);
INSERT INTO "name" VALUES('feature_set','also-mine','cc7db8e868a2d25fe3ff8fc34608d5496d1666e216eddc0907e31ed7a0329ce5',1.79603378922888612745e+09);
INSERT INTO "name" VALUES('feature_set','other','87f191d0870bec48ddf180e990e7f2300d35f5a597e5295395960153dda08b75',1.79603379093616557114e+09);
INSERT INTO "name" VALUES('grouping','mine','9999999999999999999999999999999999999999999999999999999999999999',1.7960963163126709461e+09);
CREATE TABLE result (
    digest TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    created REAL NOT NULL,
    message BLOB NOT NULL
) STRICT;
INSERT INTO "result" VALUES('0edaf867948a2352a43b5e3bedb582d19d6f25fa737bb327250380afba3afbb0','refit',1.79603379148646450039e+09,X'0A40306564616638363739343861323335326134336235653362656462353832643139643666323566613733376262333237323530333830616662613361666262301296010A40636337646238653836386132643235666533666638666333343630386435343936643136363665323136656464633039303765333165643761303332396365351A0408012001219A9999999999B93F3001498DEDB5A0F7C6B03E506459000000000000000060016A0208017001780182010208028A010B080121000000000000F03F92010208019A01020801A00101AA010208011A630A480803120202041A404880FC4D8DA8A4BF425DBDED5038B3BFEFC3FD73A226D23F7FBFDE464EE1B33F4880FC4D8DA8A43F425DBDED5038B33FEFC3FD73A226D2BF7FBFDE464EE1B3BF121708031201021A1009179E954245983F09179E95424598BF222A0801111E481749BAEF1B3E199DBE47C9F2E8F23E2004280A31579828FD345BE43F3944AE997B2FA3273F3028');
INSERT INTO "result" VALUES('2286ed22d471c3fd45ca6258b5b521ae247beed6abc2928353e4b4da763666e6','spectra',1.79603379200785946839e+09,X'0A40323238366564323264343731633366643435636136323538623562353231616532343762656564366162633239323833353365346234646137363336363665361240636337646238653836386132643235666533666638666333343630386435343936643136363665323136656464633039303765333165643761303332396365351A0E1204302C20302A0130320130380A1A1208011204302C203120012A0130320131380A1A1208021204312C203018012A0131320130380A1A1408031204312C2031180120012A0131320131380A2289010803120204041A8001719955B15B12F73F3B5F2BB5384BEC3F3EA513E7FFC6E43FD4F7A82312D2C53FF63CD0CD1651FB3F8AD7F8188D68F13F1210BF6CBDEEE03F7F3174A77030D03F160D75106D0DFA3FFA0A1EE48A8CED3FCE6E2646CA5DE13F7653F20CE402D03F769CC2E40CBCF73F2A390FDBF5A3F03F2E6CE295165FDE3FEBA06C7D4840C13F2A2708031201041A20561DF521DD2A094076D482638F9E0C406BEF6954A8C10A4065027CBAE80F094032451801200A280A3147A51E1FF506EB3F39344BB818F506EB3F418053AFEE6D72E13F49A2A3D9307D93F33F519A9999999999C93F599A9999999999D93F61BDD4073A95D5163D3249080110021803200A280A31E33576F60190F13F39FEDA7FF20190F13F41498A8C34C5C0DF3F497A01E6D0FBA20A4051333333333333E33F59333333333333E33F61D9BC05565BA9283D380158016289010803120204041A8001B2BC69CCBBBE0D3DB2BC69CCBBBE0D3DB2BC69CCBBBE0D3DB2BC69CCBBBE0D3DC039F430847A133DC039F430847A133DC039F430847A133DC039F430847A133D318B83FBFB8E123D318B83FBFB8E123D318B83FBFB8E123D318B83FBFB8E123D36A0CED537960E3D36A0CED537960E3D36A0CED537960E3D36A0CED537960E3D6A0466756C6C6A0466756C6C6A0466756C6C6A0466756C6C72040101010178048101666666666666EE3F900128980128');
INSERT INTO "result" VALUES('bc4ceaee2898c9cc3e4bfd713ef151874af1a4709d8d26bd1c4c7497a594f15d','descriptors',1.79603379250986480708e+09,X'0A40626334636561656532383938633963633365346266643731336566313531383734616631613437303964386432366264316334633734393761353934663135641240636337646238653836386132643235666533666638666333343630386435343936643136363665323136656464633039303765333165643761303332396365351801220E1204302C20302A0130320130380A221208011204302C203120012A0130320131380A221208021204312C203018012A0131320130380A221408031204312C2031180120012A0131320131380A2A6C0A1370617274696369706174696F6E5F726174696F121B2873756D5F69206C5F69295E32202F2073756D5F69206C5F695E321A0F47616F20657420616C2E2032303137222708031201041A201AD36E314DE80740A2D892F1AF0B0740944BD5E6562D0740CAAB6759234506402AA0010A0E6566666563746976655F72616E6B122E657870282D73756D5F6920705F69206C6F6720705F69292C20705F69203D206C5F69202F2073756D5F6A206C5F6A1A35526F792026205665747465726C6920323030372C206F6E20656967656E76616C756573206F662074686520636F76617269616E6365222708031201041A203A2AA9CB99810A409B123898A12A0A408306A770616C0A409B5D5303E40B09402AB4010A0772616E6B5F6D651264657870282D73756D5F6920705F69206C6F6720705F69292C20705F69203D20735F69202F2073756D5F6A20735F6A202B2031652D372C2073203D2073696E67756C61722076616C756573206F662074686520726F77732C206E6F742063656E74657265641A1A4761727269646F20657420616C2E20323032332C2065712E2031222708031201041A20CA833BC3DAFE0D4087073E1DE5EA0E4058A602B4AF840E40D3287E622C290E402ACF010A12706F7765725F6C61775F6578706F6E656E741259616C706861206F66206C6F67206C5F69203D2063202D20616C706861206C6F672069206279206C6561737420737175617265732077697468207765696768747320312F69206F7665722072616E6B73203131202E2E2E2035301A354167726177616C20657420616C2E20323032322028616C7068612D526551293B20537472696E67657220657420616C2E2032303139222708031201041A20000000000000F87F000000000000F87F000000000000F87F000000000000F87F324D0A0B636C6173735F73686172651235747220535F6265747765656E202F20747220535F746F74616C2C20535F6265747765656E206F7665722074686520636C617373657319F37A070D4F5CA53F325C0A0F6174747269627574655F73686172651240747220535F6265747765656E202F20747220535F746F74616C2C20535F6265747765656E206F766572207468652061747472696275746527732076616C75657319E2699F14C1A1A43F324C0A0B67726F75705F73686172651234747220535F6265747765656E202F20747220535F746F74616C2C20535F6265747765656E206F766572207468652067726F757073195723B94C386EBA3F');
INSERT INTO "result" VALUES('6f42c8fde14c848ac32d10b1b5f22d0c7042a088acca10fc6ee0531b36a49529','principal_angles',1.79603379254784941668e+09,X'0A4036663432633866646531346338343861633332643130623162356632326430633730343261303838616363613130666336656530353331623336613439353239120E1204302C20302A0130320130380A1A1208011204302C203120012A0130320131380A2240636337646238653836386132643235666533666638666333343630386435343936643136363665323136656464633039303765333165643761303332396365352240383766313931643038373062656334386464663138306539393065376632333030643335663561353937653532393533393539363031353364646130386237352A1708031201021A107C232B0DF181E23F56CB682F6291F63F3266617263636F73206F66207468652073696E67756C61722076616C756573206F6620555E5420563B2061726373696E206F662074686F7365206F662056202D205520555E54205620776865726520746861742069732074686520736D616C6C657220616E676C65');
CREATE TABLE run (id TEXT PRIMARY KEY, created REAL NOT NULL, message TEXT NOT NULL, dataset TEXT AS (json_extract(message, '$.spec.dataset')) VIRTUAL, backbone TEXT AS (json_extract(message, '$.spec.backbone')) VIRTUAL) STRICT;
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
CREATE TABLE seal (
    of_table TEXT NOT NULL,
    of_row TEXT NOT NULL,
    sealed TEXT NOT NULL,
    PRIMARY KEY (of_table, of_row)
) STRICT, WITHOUT ROWID;
INSERT INTO "seal" VALUES('card','checkpoint/62637b06aed903d0914d1cdd1b9846b3bfb6e5bbd81bb0902a298d42ecb4f3a6','268114a7c11c5f193b774a824a908f6bd1cf59f12a1449547fc751e6834dac78');
INSERT INTO "seal" VALUES('card','checkpoint/b06ad18cc5516717617b28eb3b3c95917ddbbd238947a62ca574256f98ecec6f','3ae7c790f8dec234654e964a0488594fe0fdf39bb52491fd84e8d75ab9fd013c');
INSERT INTO "seal" VALUES('card','dataset/shapes','edd51b7d1ccd417cafee761613b2dcda615dae45e9e917e2b1b143f0ad648f30');
INSERT INTO "seal" VALUES('card','feature_set/87f191d0870bec48ddf180e990e7f2300d35f5a597e5295395960153dda08b75','28f37c35bbc9dc70a45bfa995b1d66b13470afdc01185e71de8c8cac26af296d');
INSERT INTO "seal" VALUES('card','feature_set/b73fa1d63aeef7191273526e87916dadc63e177ed64684b25ae4ba51ad4d8947','9cc09244dd41776b1249ac31851a00e65173d39254e17187ac2135ed3d1f7a6b');
INSERT INTO "seal" VALUES('card','feature_set/c146b4ed9a3a7a397edeb6d50b085f98b3e8ddd30b5d401af4dcf56736bc24a4','359d9b40183accaca056b812616e5480e7f5a5664874c3e493404e288b730ddd');
INSERT INTO "seal" VALUES('card','feature_set/cc7db8e868a2d25fe3ff8fc34608d5496d1666e216eddc0907e31ed7a0329ce5','18f023b95a9aa22ab0d41799e5d54af0d22869024303ccdbdd6473c018f2c4f1');
INSERT INTO "seal" VALUES('card','feature_set/d4ee8d2ccb24c1f5b80ba150ced076e72a640cd6b254238a107173df45e2ef8a','bf3f6a627ac0156a659f944608fae58ca4af2e43837815b146842eab48202457');
INSERT INTO "seal" VALUES('card','grouping/9999999999999999999999999999999999999999999999999999999999999999','32e0ef9174ef1e7c89b4ba39c20471193308ac3ccb7f3b43ea161f5f2839c443');
INSERT INTO "seal" VALUES('card','job/10b72d6b59ae','d6ff5012cb50c63d4c2fd7bb8f5ffc33cf00e4a6518d0fcdcf88c438098f997e');
INSERT INTO "seal" VALUES('card','job/46699b46ec81','e40309af6da3fb3141c675565b34e161b02a84b8c38fe0ebc2365d237b800850');
INSERT INTO "seal" VALUES('card','job/b426c82d3c99','9972e26b69dabc53dd02f91139232380134a46688d906de071d9bdf44a508185');
INSERT INTO "seal" VALUES('card','job/c9a8105c4da0','e32436fed11e4895601f615c116d4f5543a5c2d9a66888cfdc73943a38831fe3');
INSERT INTO "seal" VALUES('card','job/e6f79532604d','a66b6f5858c5341384ee9cf5e3e37744613e02fa911eb236d9608e4e8995fbf9');
INSERT INTO "seal" VALUES('card','job/f3d5673228f0','29dbcbf02cd2925c1a9679099b953e22521c31fece6d5e37a809545be9d0be1f');
INSERT INTO "seal" VALUES('card','job/fd8e0035e194','9e8bd14fad70f1f37ebdd0bd69aba28247136558dfb3475236bdb666e7a7265b');
INSERT INTO "seal" VALUES('card','result/0edaf867948a2352a43b5e3bedb582d19d6f25fa737bb327250380afba3afbb0','c269dba030cd778c8feda2feb55f3a6dc8efba8de4a7491be2ecbef65aecc485');
INSERT INTO "seal" VALUES('card','result/2286ed22d471c3fd45ca6258b5b521ae247beed6abc2928353e4b4da763666e6','256bcce0f8d167b458ab0f7b387d979841c18f4d251905e1db34df3da0076a79');
INSERT INTO "seal" VALUES('card','result/6f42c8fde14c848ac32d10b1b5f22d0c7042a088acca10fc6ee0531b36a49529','0132d61a45f2f99e7178107ac4b08feaed94fe5370bdcb12d7a726a0e070ba7e');
INSERT INTO "seal" VALUES('card','result/bc4ceaee2898c9cc3e4bfd713ef151874af1a4709d8d26bd1c4c7497a594f15d','77c2dc1f355bb8b03c626594c5bed6753d709c26dde8f6277c38aa555a61b0de');
INSERT INTO "seal" VALUES('card','run/f3d5673228f0','07a41bf5006dbcaabd1560569170388aad705c6b915aca5909a6ef8b6cdce58e');
INSERT INTO "seal" VALUES('checkpoint','62637b06aed903d0914d1cdd1b9846b3bfb6e5bbd81bb0902a298d42ecb4f3a6','c4430ab9eba1914c14bf753b1c50771e916bed1904e3adbc20b904e95ed69266');
INSERT INTO "seal" VALUES('checkpoint','b06ad18cc5516717617b28eb3b3c95917ddbbd238947a62ca574256f98ecec6f','993ec579f4501e8bb5e95bcbbb63f277b0662dbf4a63dd4460bcc92ee6f3b375');
INSERT INTO "seal" VALUES('dataset','shapes','bac4a93163f40838c2fa5fa938e4519c59232a04910ec4f53bdd61be0d735878');
INSERT INTO "seal" VALUES('feature_set','87f191d0870bec48ddf180e990e7f2300d35f5a597e5295395960153dda08b75','0f91cb4cfd7ba26f2f964d1a01ed32661d5f0afd7f3873656b62afd6d7757107');
INSERT INTO "seal" VALUES('feature_set','b73fa1d63aeef7191273526e87916dadc63e177ed64684b25ae4ba51ad4d8947','67ed8decde625ecf89e2ccf1df309dfe0795f4cd9b9d24485415bf11a99e2229');
INSERT INTO "seal" VALUES('feature_set','c146b4ed9a3a7a397edeb6d50b085f98b3e8ddd30b5d401af4dcf56736bc24a4','0a7cd94a28576df5a49f37aa6a99cf3d441de7f517eac95ed414617f239227bf');
INSERT INTO "seal" VALUES('feature_set','cc7db8e868a2d25fe3ff8fc34608d5496d1666e216eddc0907e31ed7a0329ce5','df2ee46a5dd4e07585a3a708c7bbc726c6f58802f38c5819f32f9900fe144b4e');
INSERT INTO "seal" VALUES('feature_set','d4ee8d2ccb24c1f5b80ba150ced076e72a640cd6b254238a107173df45e2ef8a','17b6cbaa1c20bc637445dba93dbeca7b96671f851ffd3a594f43ca24ecb15e3f');
INSERT INTO "seal" VALUES('grouping','9999999999999999999999999999999999999999999999999999999999999999','e131bf011551474c5d2d6ccbfae3a5ebad4678d25807cd5a3631e8f82109ff82');
INSERT INTO "seal" VALUES('job','10b72d6b59ae','7910157ede0a25de52ddf4c27dfe5b4eb1979cb3e236608458f9fc49ea4b6365');
INSERT INTO "seal" VALUES('job','46699b46ec81','f44ac9941e6f69cc074b6fd125801aec82672528132c39ec91459783bbddbed8');
INSERT INTO "seal" VALUES('job','b426c82d3c99','b9d37193da7e4e40f41f2370b02a94fcc484f7df014568205b4e3ef73c02de2e');
INSERT INTO "seal" VALUES('job','c9a8105c4da0','ca76cd95f83539f215c2a5e0703783ba647cd982b9265478a93edfb86d48f5ff');
INSERT INTO "seal" VALUES('job','e6f79532604d','5c43ed8abe5077a40d10d18bd5a5453b95f0679317c30ea91df1224208d29d72');
INSERT INTO "seal" VALUES('job','f3d5673228f0','98c157f5132366642ed93629ff1dcf6f9813db1a4dc456a15eb28249d9f4a4ee');
INSERT INTO "seal" VALUES('job','fd8e0035e194','5e6814ea6a279fcde1ed2809befa38be3b4ba499af09fc3f7938109fa5db6469');
INSERT INTO "seal" VALUES('job_event','10b72d6b59ae/1','b3640bd416c1549caf455ebc6cf95d2bde86fa33701d57ce31666b1c926c33b3');
INSERT INTO "seal" VALUES('job_event','10b72d6b59ae/2','c2908dda9ade88857e1c1a10f3198d6c292c358e2bea9a57ce30293a53bf25b4');
INSERT INTO "seal" VALUES('job_event','10b72d6b59ae/4','714c25f1090bb0e1e94ba05a57a13f35c3b550d7226eaaf59102a6bfadf20251');
INSERT INTO "seal" VALUES('job_event','10b72d6b59ae/5','2c8902e39b52229aee8822cedebf15bb1102ba4d9106de9725ee8385c9b24a4b');
INSERT INTO "seal" VALUES('job_event','46699b46ec81/1','d50d9601717211b3d27565d14e2b6c1cf5356ee5a0ba79245c4f0b4bff3cce40');
INSERT INTO "seal" VALUES('job_event','46699b46ec81/2','1ad41fc0e6ae5c9b6e4d33a351c5e6e3c7c9cd008ab32ec04dea4bdc88be4771');
INSERT INTO "seal" VALUES('job_event','46699b46ec81/4','fb3779a21fd09d9fe209cab1396f9fa157dbed7a97e88c065211e2b7240e63fb');
INSERT INTO "seal" VALUES('job_event','46699b46ec81/5','6124c681981ad6648ba7506f5336c53b825754622af780f56e17acd7e60a8598');
INSERT INTO "seal" VALUES('job_event','b426c82d3c99/1','041df683c24cdbfe2794a6163fc155920e7d7bc324d8f5b8a9f61e61a0c3cf60');
INSERT INTO "seal" VALUES('job_event','b426c82d3c99/2','bb80aa5d0472d35b9a5e3048d5453eecf84b1fc9599c27f8566a369c8bb7ae72');
INSERT INTO "seal" VALUES('job_event','b426c82d3c99/3','056f022aa1f4eeef55570cc9de959aca53447d3169fecd35b89c054dac605415');
INSERT INTO "seal" VALUES('job_event','c9a8105c4da0/1','9df5330f87d28c36231e5ecbc67bc2992c8a06c85d535dcef28274500810f90d');
INSERT INTO "seal" VALUES('job_event','e6f79532604d/1','385fef4c0a6bf78d950a281384bfd4d1cfabe4980aef751b19689e9d5cddef81');
INSERT INTO "seal" VALUES('job_event','e6f79532604d/2','7e7af970f5e6a1ff15c987b2f9b19ab011c51539e9fec6c08d5415953482b7ff');
INSERT INTO "seal" VALUES('job_event','e6f79532604d/5','2e3952f171aebe11b67d15270b00442b2438cfe2f08ae68400538092ad10a491');
INSERT INTO "seal" VALUES('job_event','e6f79532604d/6','ccc41a5d1f97cae71f8a5bcff2286f97146e5ee07f7319206133b8cf142d38ef');
INSERT INTO "seal" VALUES('job_event','f3d5673228f0/1','ba03ff2676e06876946a8dbd2fb4f980aeff437ecf1763f78f2a4fb800a2e356');
INSERT INTO "seal" VALUES('job_event','f3d5673228f0/10','53691853ecb88fc2459eb6a4f48d74615d7d980dc0d51b3ce6136c9985c371a9');
INSERT INTO "seal" VALUES('job_event','f3d5673228f0/12','b664471a1035eeb7b6920f393d80b2f63357c77ca825a9c9bb91ff9ecd847a08');
INSERT INTO "seal" VALUES('job_event','f3d5673228f0/13','a82e101b125d250eebd4290e27a07bb69791d5714e9b50c4522d5770bd03cb98');
INSERT INTO "seal" VALUES('job_event','f3d5673228f0/14','d8d785d40c41f401799ca8fea2f9eca3202ffc2368875fb8e4e40aa8cdd68cab');
INSERT INTO "seal" VALUES('job_event','f3d5673228f0/15','65e3a9ead1fc3d66f72fd73634c858fc1432cd860b47227cda38e38ca3e7dde3');
INSERT INTO "seal" VALUES('job_event','f3d5673228f0/2','fda8678cce6f3ca954502464abee148cfcbde5bbc16901da98b9d5c14c13bab8');
INSERT INTO "seal" VALUES('job_event','fd8e0035e194/1','608b739ee6f75a89976fbd78164eb0028bc351139de87f5b4df9109ca3f01b62');
INSERT INTO "seal" VALUES('job_event','fd8e0035e194/2','5177b057d1dccf623a8bfef2ab5d6a3468911134f872063132354376335252d3');
INSERT INTO "seal" VALUES('job_event','fd8e0035e194/3','1ec0c12b027d5bab9ddb9bd5a0e347fc27fdcb07d32ea5cf4272992b43e7f5ed');
INSERT INTO "seal" VALUES('job_event','fd8e0035e194/4','1273fe96385c0ded46ffea3acfe906d4261a754d475650ebec9c2be0c5bb85c1');
INSERT INTO "seal" VALUES('job_event','fd8e0035e194/5','47d034283fae63404ec206caa0b631a25103af24b0c664a873387ade9985eaa4');
INSERT INTO "seal" VALUES('name','feature_set/also-mine','990fb4b28571492d85cc9620749013b272afa7a2d341a0fa1660d9cb0a1364cb');
INSERT INTO "seal" VALUES('name','feature_set/mine','8fa4cee9c233c6ced40128a497d1e0025f55f4c78572921eee17a64f6ec20a87');
INSERT INTO "seal" VALUES('name','feature_set/other','5b44c6de8962288deb1bd6e726cec8570e82c2075ecf4cb3cee4018c83b9e377');
INSERT INTO "seal" VALUES('name','grouping/mine','24e1eb201c124d8022108fae85fb77c80616d1bf498d7e00af20e4628f607732');
INSERT INTO "seal" VALUES('result','0edaf867948a2352a43b5e3bedb582d19d6f25fa737bb327250380afba3afbb0','1887e1d15640f8f77fb9a9d8534190633bf9cd32047cbee39b7a7418bf2b66eb');
INSERT INTO "seal" VALUES('result','2286ed22d471c3fd45ca6258b5b521ae247beed6abc2928353e4b4da763666e6','aa0648e9adc3911e148da29a0d0de3dc29cfa9d8f7f2db197b342f930e0dc55c');
INSERT INTO "seal" VALUES('result','6f42c8fde14c848ac32d10b1b5f22d0c7042a088acca10fc6ee0531b36a49529','66e2d9fe2e0d946cda7efa858d293fd0388c8140e4fe0127ef3c794e0b4a8ed4');
INSERT INTO "seal" VALUES('result','bc4ceaee2898c9cc3e4bfd713ef151874af1a4709d8d26bd1c4c7497a594f15d','03fac784c8951a693baf86c2a0d6bb13bd1d6fedcc59afc85248eb0ba6912ddd');
INSERT INTO "seal" VALUES('run','f3d5673228f0','635e804e4e280112c18226999c6ab617619f933799cdb4a208a20cc5c9954b0b');
INSERT INTO "seal" VALUES('summary','0edaf867948a2352a43b5e3bedb582d19d6f25fa737bb327250380afba3afbb0','a3efd6f684b1e5d518b72f228e6c2f67cf1ef9d1f68d3e6109c5a4cb8099c236');
INSERT INTO "seal" VALUES('summary','2286ed22d471c3fd45ca6258b5b521ae247beed6abc2928353e4b4da763666e6','c7e7d1fbf26d906660444adabf6d2064baf86af9b69d41b899ffdceafa6a12e0');
INSERT INTO "seal" VALUES('summary','6f42c8fde14c848ac32d10b1b5f22d0c7042a088acca10fc6ee0531b36a49529','5d35ff3fb4df6cf80ddd74416cd8abb27d1fa476283991eb3774387ac563d893');
INSERT INTO "seal" VALUES('summary','bc4ceaee2898c9cc3e4bfd713ef151874af1a4709d8d26bd1c4c7497a594f15d','e063779fa1d02949b159ec4e431707dce8971c781fe7bcb4b44622b136a38a75');
INSERT INTO "seal" VALUES('token','5c59e2f2b754','9346f2de6a5f03721825a33d49aaf3e7b438e090639091e8b90291b6d2a485e9');
CREATE TABLE summary (
    digest TEXT PRIMARY KEY REFERENCES result (digest) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    feature_set TEXT NOT NULL,
    second_set TEXT NOT NULL,
    message BLOB NOT NULL
) STRICT;
INSERT INTO "summary" VALUES('0edaf867948a2352a43b5e3bedb582d19d6f25fa737bb327250380afba3afbb0','refit','cc7db8e868a2d25fe3ff8fc34608d5496d1666e216eddc0907e31ed7a0329ce5','',X'0A403065646166383637393438613233353261343362356533626564623538326431396436663235666137333762623332373235303338306166626133616662623010011A406363376462386538363861326432356665336666386663333436303864353439366431363636653231366564646330393037653331656437613033323963653522146E6F2062616C616E63696E672C206C3220302E31');
INSERT INTO "summary" VALUES('2286ed22d471c3fd45ca6258b5b521ae247beed6abc2928353e4b4da763666e6','spectra','cc7db8e868a2d25fe3ff8fc34608d5496d1666e216eddc0907e31ed7a0329ce5','',X'0A403232383665643232643437316333666434356361363235386235623532316165323437626565643661626332393238333533653462346461373633363636653610021A4063633764623865383638613264323566653366663866633334363038643534393664313636366532313665646463303930376533316564376130333239636535223362792067726F75702C20746F7020342C20696D62616C616E6365203020302E3834352C20696D62616C616E6365203120312E31');
INSERT INTO "summary" VALUES('bc4ceaee2898c9cc3e4bfd713ef151874af1a4709d8d26bd1c4c7497a594f15d','descriptors','cc7db8e868a2d25fe3ff8fc34608d5496d1666e216eddc0907e31ed7a0329ce5','',X'0A406263346365616565323839386339636333653462666437313365663135313837346166316134373039643864323662643163346337343937613539346631356410031A4063633764623865383638613264323566653366663866633334363038643534393664313636366532313665646463303930376533316564376130333239636535220862792067726F7570');
INSERT INTO "summary" VALUES('6f42c8fde14c848ac32d10b1b5f22d0c7042a088acca10fc6ee0531b36a49529','principal_angles','cc7db8e868a2d25fe3ff8fc34608d5496d1666e216eddc0907e31ed7a0329ce5','87f191d0870bec48ddf180e990e7f2300d35f5a597e5295395960153dda08b75',X'0A403666343263386664653134633834386163333264313062316235663232643063373034326130383861636361313066633665653035333162333661343935323910041A40636337646238653836386132643235666533666638666333343630386435343936643136363665323136656464633039303765333165643761303332396365351A40383766313931643038373062656334386464663138306539393065376632333030643335663561353937653532393533393539363031353364646130386237352212302C2030202F20302C20312C20746F702032');
CREATE TABLE token (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL UNIQUE,
    user TEXT NOT NULL,
    role TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL,
    last_used REAL,
    revoked REAL
) STRICT;
INSERT INTO "token" VALUES('5c59e2f2b754','laptop','196718e16bdb7db3ce105bd0fcb67545ab7e8a5a007828fd9d25d8df0a55a50c','ann','reader',1.7960963165004196167e+09,NULL,NULL,NULL);
CREATE INDEX job_by_spec ON job (spec_digest, created);
CREATE INDEX job_by_state ON job (state, created);
CREATE INDEX card_by_time ON card (kind, created);
CREATE INDEX name_by_id ON name (kind, id);
CREATE INDEX summary_by_set ON summary (feature_set);
CREATE INDEX summary_by_second_set ON summary (second_set);
CREATE TRIGGER name_insert AFTER INSERT ON name BEGIN UPDATE card SET name = coalesce((SELECT n.name FROM name n WHERE n.kind = card.kind AND n.id = card.id ORDER BY n.given DESC, n.name LIMIT 1), '') WHERE kind = NEW.kind AND id = NEW.id; END;
CREATE TRIGGER name_update AFTER UPDATE ON name BEGIN UPDATE card SET name = coalesce((SELECT n.name FROM name n WHERE n.kind = card.kind AND n.id = card.id ORDER BY n.given DESC, n.name LIMIT 1), '') WHERE kind = OLD.kind AND id = OLD.id; UPDATE card SET name = coalesce((SELECT n.name FROM name n WHERE n.kind = card.kind AND n.id = card.id ORDER BY n.given DESC, n.name LIMIT 1), '') WHERE kind = NEW.kind AND id = NEW.id; END;
CREATE TRIGGER name_delete AFTER DELETE ON name BEGIN UPDATE card SET name = coalesce((SELECT n.name FROM name n WHERE n.kind = card.kind AND n.id = card.id ORDER BY n.given DESC, n.name LIMIT 1), '') WHERE kind = OLD.kind AND id = OLD.id; END;
CREATE TRIGGER job_made AFTER INSERT ON job BEGIN INSERT INTO card (kind, id, created) SELECT 'job', NEW.id, (julianday('now') - 2440587.5) * 86400 WHERE NOT EXISTS (SELECT 1 FROM card WHERE kind = 'job' AND id = NEW.id); END;
CREATE TRIGGER job_gone AFTER DELETE ON job BEGIN DELETE FROM card WHERE kind = 'job' AND id = OLD.id; DELETE FROM name WHERE kind = 'job' AND id = OLD.id; END;
CREATE TRIGGER dataset_made AFTER INSERT ON dataset BEGIN INSERT INTO card (kind, id, created) SELECT 'dataset', NEW.name, (julianday('now') - 2440587.5) * 86400 WHERE NOT EXISTS (SELECT 1 FROM card WHERE kind = 'dataset' AND id = NEW.name); END;
CREATE TRIGGER dataset_gone AFTER DELETE ON dataset BEGIN DELETE FROM card WHERE kind = 'dataset' AND id = OLD.name; DELETE FROM name WHERE kind = 'dataset' AND id = OLD.name; END;
CREATE TRIGGER checkpoint_made AFTER INSERT ON checkpoint BEGIN INSERT INTO card (kind, id, created) SELECT 'checkpoint', NEW.digest, (julianday('now') - 2440587.5) * 86400 WHERE NOT EXISTS (SELECT 1 FROM card WHERE kind = 'checkpoint' AND id = NEW.digest); END;
CREATE TRIGGER checkpoint_gone AFTER DELETE ON checkpoint BEGIN DELETE FROM card WHERE kind = 'checkpoint' AND id = OLD.digest; DELETE FROM name WHERE kind = 'checkpoint' AND id = OLD.digest; END;
CREATE TRIGGER run_made AFTER INSERT ON run BEGIN INSERT INTO card (kind, id, created) SELECT 'run', NEW.id, (julianday('now') - 2440587.5) * 86400 WHERE NOT EXISTS (SELECT 1 FROM card WHERE kind = 'run' AND id = NEW.id); END;
CREATE TRIGGER run_gone AFTER DELETE ON run BEGIN DELETE FROM card WHERE kind = 'run' AND id = OLD.id; DELETE FROM name WHERE kind = 'run' AND id = OLD.id; END;
CREATE TRIGGER feature_set_made AFTER INSERT ON feature_set BEGIN INSERT INTO card (kind, id, created) SELECT 'feature_set', NEW.digest, (julianday('now') - 2440587.5) * 86400 WHERE NOT EXISTS (SELECT 1 FROM card WHERE kind = 'feature_set' AND id = NEW.digest); END;
CREATE TRIGGER feature_set_gone AFTER DELETE ON feature_set BEGIN DELETE FROM card WHERE kind = 'feature_set' AND id = OLD.digest; DELETE FROM name WHERE kind = 'feature_set' AND id = OLD.digest; END;
CREATE TRIGGER result_made AFTER INSERT ON result BEGIN INSERT INTO card (kind, id, created) SELECT 'result', NEW.digest, (julianday('now') - 2440587.5) * 86400 WHERE NOT EXISTS (SELECT 1 FROM card WHERE kind = 'result' AND id = NEW.digest); END;
CREATE TRIGGER result_gone AFTER DELETE ON result BEGIN DELETE FROM card WHERE kind = 'result' AND id = OLD.digest; DELETE FROM name WHERE kind = 'result' AND id = OLD.digest; END;
CREATE INDEX job_by_dataset ON job (dataset);
CREATE INDEX checkpoint_by_dataset ON checkpoint (dataset);
CREATE INDEX checkpoint_by_backbone ON checkpoint (backbone);
CREATE INDEX checkpoint_by_run ON checkpoint (run);
CREATE INDEX checkpoint_by_model ON checkpoint (model);
CREATE INDEX run_by_dataset ON run (dataset);
CREATE INDEX run_by_backbone ON run (backbone);
CREATE INDEX feature_set_by_dataset ON feature_set (dataset);
CREATE INDEX feature_set_by_split ON feature_set (split);
CREATE INDEX feature_set_by_checkpoint ON feature_set (checkpoint);
CREATE UNIQUE INDEX token_by_name ON token (name) WHERE revoked IS NULL;
CREATE TRIGGER grouping_made AFTER INSERT ON grouping BEGIN INSERT INTO card (kind, id, created) SELECT 'grouping', NEW.digest, (julianday('now') - 2440587.5) * 86400 WHERE NOT EXISTS (SELECT 1 FROM card WHERE kind = 'grouping' AND id = NEW.digest); END;
CREATE TRIGGER grouping_gone AFTER DELETE ON grouping BEGIN DELETE FROM card WHERE kind = 'grouping' AND id = OLD.digest; DELETE FROM name WHERE kind = 'grouping' AND id = OLD.digest; END;
CREATE INDEX grouping_by_feature_set ON grouping (feature_set);
CREATE INDEX grouping_by_dataset ON grouping (dataset);
CREATE INDEX grouping_by_method ON grouping (method);
COMMIT;
PRAGMA user_version = 5;
